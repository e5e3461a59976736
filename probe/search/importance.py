"""Which hyperparameters the trials' scores depend on, told apart from chance. Pure.

A hyperparameter's importance is the share of the variation of the trials' ranks that a smooth curve over its values (for
choices: their means) explains, beyond what it would explain by chance. Chance is a permutation test: the scores are dealt out
to the trials anew, and the largest standardized statistic over all hyperparameters makes the null distribution (Westfall &
Young 1993, Resampling-Based Multiple Testing), so that with scores that depend on nothing at most one search in twenty
reports anything. The curve is kernel ridge regression and its test the kernel score test of Liu, Lin & Ghosh 2007
(https://doi.org/10.1111/j.1541-0420.2007.00799.x). In a simulation with 20
trials and noise of 0.7 standard deviations of the effect, the same test of PED-ANOVA's statistic, which compares the few best
trials with all of them, found an optimum inside of the range in one search of twenty, and this one in half of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probe.search.records import MIN_COMPARED_TRIALS, Dimension, ParamValue
from probe.search.space import Axis, Positions, axis_of

FALSE_ALARMS = 0.05
"""The probability that anything is reported where the scores depend on nothing."""
NUM_PERMUTATIONS = 1000
MAX_TRIALS = 300
"""More are thinned out evenly: the work grows with their square."""
BANDWIDTH = 0.5
"""Of the kernel exp(-distance / BANDWIDTH), in units of a hyperparameter's range."""
RIDGE = 1.0
"""Of kernel ridge regression: a mean over n trials of a choice is shrunk by n / (n + 1)."""

Numbers = NDArray[Any]
"""Of floats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Smoother:
    """Kernel ridge regression of the ranks on one hyperparameter."""

    trials: NDArray[np.intp]
    """Indices of the trials that have the hyperparameter."""
    fit: Numbers
    """(trials, trials): ranks, centred -> the curve at each trial."""
    explained: Numbers
    """(trials, trials): the quadratic form of the variation that the curve explains."""

    def centred(self, ranks: Numbers) -> Numbers:
        """(..., all trials) -> (..., trials with the hyperparameter), each row with mean 0."""
        own: Numbers = ranks[..., self.trials]
        own = own - own.mean(axis=-1, keepdims=True)
        return own

    def r_squared(self, ranks: Numbers) -> Numbers:
        """(permutations, all trials) -> (permutations,): the explained share, 0 where there is no variation."""
        own = self.centred(ranks)
        variation = np.square(own).sum(axis=1)
        shares: Numbers = np.einsum("pt,pt->p", own @ self.explained, own) / np.where(variation > 0, variation, 1.0)
        return shares


def importance(
    dimensions: Sequence[Dimension], scored: Sequence[tuple[Positions, float]]
) -> Mapping[str, float] | None:
    """Share of the variation of the ranks that each hyperparameter explains, largest first, of those that stand out above
    chance only; together at most 1. None with fewer than MIN_COMPARED_TRIALS trials that can be compared.

    `scored` holds positions and scores of equally long trained trials. The one that stands out most is taken out of the ranks
    before the others are tested: a sampler that learns tries good values of several hyperparameters together, and what is due
    to one of them would be put down to the others, too.
    """
    if len(scored) < MIN_COMPARED_TRIALS:
        return None
    compared = scored[:: -(-len(scored) // MAX_TRIALS)]
    smoothers = {
        dimension.name: smoother
        for dimension in dimensions
        if (smoother := _smoother(axis_of(dimension), [positions for positions, _ in compared])) is not None
    }
    ranks = _ranks([score for _, score in compared])
    whole = float(np.square(ranks).sum())
    generator = np.random.default_rng(len(compared))
    shares: dict[str, float] = {}
    while smoothers and whole > 0 and (found := _strongest(smoothers, ranks, generator)) is not None:
        name, share = found
        smoother = smoothers.pop(name)
        own = smoother.centred(ranks)
        shares[name] = share * float(np.square(own).sum()) / whole
        ranks = ranks.copy()
        ranks[smoother.trials] -= smoother.fit @ own
        ranks -= ranks.mean()
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _strongest(
    smoothers: Mapping[str, _Smoother], ranks: Numbers, generator: np.random.Generator
) -> tuple[str, float] | None:
    """The hyperparameter that stands out most, with its share beyond chance; None where none does."""
    dealt = np.stack([ranks, *(generator.permutation(ranks) for _ in range(NUM_PERMUTATIONS - 1))])
    shares = np.stack([smoother.r_squared(dealt) for smoother in smoothers.values()])  # (hyperparameters, permutations)
    means, deviations = shares.mean(axis=1, keepdims=True), shares.std(axis=1, keepdims=True)
    standardized = (shares - means) / np.where(deviations > 0, deviations, np.inf)
    largest = standardized.max(axis=0)
    if np.mean(largest >= largest[0]) > FALSE_ALARMS:  # the scores as they are count among the permutations
        return None
    best = int(standardized[:, 0].argmax())
    share = (shares[best, 0] - means[best, 0]) / (1 - means[best, 0])
    return list(smoothers)[best], float(share)


def _smoother(axis: Axis, positions: Sequence[Positions]) -> _Smoother | None:
    """None where too few trials have the hyperparameter, or all of them the same value of it."""
    trials = [index for index, position in enumerate(positions) if axis.name in position]
    values = [positions[index][axis.name] for index in trials]
    if len(trials) < MIN_COMPARED_TRIALS or len(set(map(repr, values))) < 2:
        return None
    kernel = _kernel(axis, values)
    centring = np.eye(len(trials)) - 1 / len(trials)
    kernel = centring @ kernel @ centring
    fit = np.linalg.solve(kernel + RIDGE * np.eye(len(trials)), kernel)
    return _Smoother(trials=np.array(trials), fit=fit, explained=2 * fit - fit @ fit)


def _kernel(axis: Axis, values: Sequence[ParamValue]) -> Numbers:
    if axis.kind == "choices":
        _, codes = np.unique([repr(value) for value in values], return_inverse=True)
        same: Numbers = (codes[:, None] == codes[None, :]).astype(float)
        return same
    numbers, low, high = np.array(values, dtype=float), axis.low, axis.high
    if axis.log:
        numbers, low, high = np.log(numbers), math.log(low), math.log(high)
    places = (numbers - low) / (high - low)
    kernel: Numbers = np.exp(-np.abs(places[:, None] - places[None, :]) / BANDWIDTH)
    return kernel


def _ranks(scores: Sequence[float]) -> Numbers:
    """With mean 0, equal scores sharing their mean rank."""
    _, codes, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Numbers = (last - (counts - 1) / 2)[codes]
    ranks -= ranks.mean()
    return ranks
