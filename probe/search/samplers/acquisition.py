"""Acquisition functions, and the search for their maximum. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, log_ndtr, ndtr

from probe.search.samplers.encoding import Encoder, Numbers

NUM_DRAWN = 500
"""Number of random candidates from the whole space."""
NUM_NEAR = 15
"""Number of neighbours of each of the best known configurations, at each of DISTANCES."""
DISTANCES = (0.1, 0.02)
STEPS = (0.1, 0.05, 0.02)
"""Distances of the local search, one after the other."""
NUM_IMPROVED = 8
NUM_NEIGHBOURS = 20
LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def log_expected_improvement(means: Numbers, deviations: Numbers, best: float) -> Numbers:
    """Logarithm of the expected improvement E[max(0, score - best)], accurate even if the improvement itself underflows.

    Source: LogEI of Ament et al. 2023, https://arxiv.org/abs/2310.20708, section 4.1.

    Args:
        means: predicted scores, (configurations,).
        deviations: their standard deviations, (configurations,).
        best: the score to improve on.

    Returns:
        (configurations,)
    """
    z = (means - best) / deviations
    log_density = -0.5 * np.square(z) - LOG_SQRT_2PI
    # Directly for z > -1, otherwise by the scaled complementary error function.
    near = z > -1
    inner = np.empty_like(z)
    inner[near] = np.log(np.exp(log_density[near]) + z[near] * ndtr(z[near]))
    far = np.abs(z[~near])
    mills = math.sqrt(math.pi / 2) * erfcx(far / math.sqrt(2))  # (1 - Phi(far)) / phi(far)
    inner[~near] = log_density[~near] + np.log(np.maximum(1 - far * mills, 1e-300))
    value: Numbers = np.log(deviations) + inner
    return value


def log_probability_above(means: Numbers, deviations: Numbers, threshold: float) -> Numbers:
    """Logarithm of the probability that a normal variable exceeds `threshold`, (configurations,)."""
    value: Numbers = log_ndtr((means - threshold) / deviations)
    return value


def most_promising(
    encoder: Encoder,
    acquisition: Callable[[Numbers], Numbers],
    *,
    known: Numbers,
    is_tried: Callable[[Numbers], NDArray[np.bool_]],
    generator: np.random.Generator,
) -> Numbers:
    """The code with the largest acquisition value, by random search followed by local search.

    Args:
        encoder: the encoder of the space.
        acquisition: (configurations, dimensions) -> (configurations,), the values of codes.
        known: codes of the best known configurations, in whose neighbourhoods candidates are drawn too.
        is_tried: whether codes were tried before. Tried ones are chosen only if all candidates were tried.
        generator: source of randomness.

    Returns:
        (dimensions,)
    """
    drawn = encoder.snapped(generator.random((NUM_DRAWN, encoder.num_dimensions)))
    around = [encoder.near(np.repeat(known, NUM_NEAR, axis=0), distance, generator) for distance in DISTANCES]
    codes = np.concatenate([drawn, *around])
    values = _values(codes, acquisition, is_tried)
    for step in STEPS:  # local search around the best candidates so far
        first = np.argsort(-values, kind="stable")[:NUM_IMPROVED]
        neighbours = encoder.near(np.repeat(codes[first], NUM_NEIGHBOURS, axis=0), step, generator)
        codes = np.concatenate([codes[first], neighbours])
        values = np.concatenate([values[first], _values(neighbours, acquisition, is_tried)])
    found: Numbers = codes[int(np.argmax(values))]
    return found


def _values(
    codes: Numbers, acquisition: Callable[[Numbers], Numbers], is_tried: Callable[[Numbers], NDArray[np.bool_]]
) -> Numbers:
    return np.where(is_tried(codes), -np.inf, acquisition(codes))
