"""Which hyperparameters the trials' scores depend on, beyond chance. Pure.

The importance of a hyperparameter is the fraction of the variation of the trials' ranks that a smooth curve over its
values (for choices: their means) explains, beyond what it would explain by chance. The curve is kernel ridge
regression, and its test is the kernel score test of Liu, Lin & Ghosh 2007
(https://doi.org/10.1111/j.1541-0420.2007.00799.x). Chance is measured by a permutation test: the scores are permuted
among the trials, and the null distribution is that of the largest standardized statistic over all hyperparameters
(Westfall & Young 1993, Resampling-Based Multiple Testing). So if the scores depend on nothing, at most one search in
twenty reports anything. In a simulation with 20 trials and noise of 0.7 standard deviations of the effect, this test
detected an optimum inside of the range in half of the searches; the same test of PED-ANOVA's statistic, which compares
the few best trials with all, detected it in one of twenty.

A conditional hyperparameter is compared among the trials that have it: scores are permuted among them, the effect of
the hyperparameters in its condition is removed first, and its importance is a fraction of their variation. As a
fraction of the variation of all trials, it would depend on how often the sampler chose to have it: the momentum of SGD
would count ten times more in a search that tried SGD more often.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from probe.search.records.search import MIN_COMPARED_TRIALS, Dimension, Importance, ParamValue
from probe.search.space.space import Axis, Positions, axis_of

FALSE_ALARMS = 0.05
"""Probability that anything is reported if the scores depend on nothing."""
NUM_PERMUTATIONS = 1000
MAX_TRIALS = 300
"""A longer search is subsampled evenly, since the cost grows with the square of the number of trials."""
BANDWIDTH = 0.5
"""Bandwidth of the kernel exp(-distance / BANDWIDTH), as a fraction of a hyperparameter's range."""
RIDGE = 1.0
"""Penalty of the kernel ridge regression: the mean over n trials of a choice is shrunk by n / (n + 1)."""

Numbers = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A hyperparameter that may be important."""

    name: str
    trials: NDArray[np.intp]
    """Indices of the trials that have the hyperparameter."""
    kernel: Numbers
    """Kernel of its values, (trials, trials)."""
    conditions: frozenset[str]
    """Names of the hyperparameters in its condition."""

    def among(self, trials: NDArray[np.intp]) -> Numbers:
        """Return its centered kernel among `trials`, (trials, trials); 0 for trials without the hyperparameter."""
        common, own, places = np.intersect1d(self.trials, trials, assume_unique=True, return_indices=True)
        kernel = np.zeros((len(trials), len(trials)))
        if len(common):
            kernel[np.ix_(places, places)] = _centred(self.kernel[np.ix_(own, own)])
        return kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class _Test:
    """How much of the remaining variation of ranks a hyperparameter explains, observed and under permutations."""

    shares: Numbers
    """Explained fraction of the variation, (permutations,); the first entry is the observed one."""
    left: float
    """Fraction of the variation among its trials that is left to explain."""

    @property
    def standardized(self) -> Numbers:
        deviation = self.shares.std()
        found: Numbers = (self.shares - self.shares.mean()) / (deviation if deviation > 0 else math.inf)
        return found

    @property
    def share(self) -> float:
        """Fraction of the variation among its trials that it explains beyond chance."""
        chance = float(self.shares.mean())
        return self.left * (float(self.shares[0]) - chance) / (1 - chance)


def importance(
    dimensions: Sequence[Dimension], scored: Sequence[tuple[Positions, float]]
) -> Mapping[str, Importance] | None:
    """Return name -> importance of the hyperparameters that matter, the most important first; None with fewer than
    MIN_COMPARED_TRIALS. `scored` has positions and scores of trials that were trained equally long.

    The hyperparameter with the most significant effect is found first, and its effect is removed from the ranks before
    the others are tested: a sampler that learns tries good values of several hyperparameters together, so the effect of
    one would be attributed to the others as well. Importances of unconditional hyperparameters sum to at most 1.
    """
    if len(scored) < MIN_COMPARED_TRIALS:
        return None
    compared = scored[:: -(-len(scored) // MAX_TRIALS)]
    waiting = _candidates(dimensions, [positions for positions, _ in compared])
    everyone = list(waiting)
    ranks = _ranks([score for _, score in compared])
    # Seeded by the scores: one set of permutations for all searches would repeat its chance effects in all of them.
    generator = np.random.default_rng(crc32(ranks.tobytes()))
    found: dict[str, Importance] = {}
    while waiting:
        dealt: dict[bytes, Numbers] = {}
        tests = []
        for one in waiting:
            key = one.trials.tobytes()
            if key not in dealt:
                dealt[key] = _permutations(len(one.trials), generator)
            before = [other for other in everyone if other.name in found or other.name in one.conditions]
            tests.append(_test(one, before, ranks, dealt[key]))
        strongest = _strongest(tests)
        if strongest is None:
            break
        one = waiting.pop(strongest)
        share = tests[strongest].share
        found[one.name] = Importance(share=share, num_trials=len(one.trials), num_compared=len(compared))
    return dict(sorted(found.items(), key=lambda item: -item[1].share))


def _strongest(tests: Sequence[_Test]) -> int | None:
    """Index of the most significant hyperparameter; None if none is significant."""
    standardized = np.stack([test.standardized for test in tests])  # (hyperparameters, permutations)
    largest = standardized.max(axis=0)
    if np.mean(largest >= largest[0]) > FALSE_ALARMS:  # the observed scores count as a permutation
        return None
    return int(standardized[:, 0].argmax())


def _test(one: _Candidate, before: Sequence[_Candidate], ranks: Numbers, order: NDArray[np.intp]) -> _Test:
    """Test a hyperparameter. The effects of `before` are removed first. `order` has shape (permutations, trials)."""
    own = ranks[one.trials]
    own = own - own.mean()
    # Remove what ridge regression on all of `before` explains from the ranks, and from this hyperparameter's kernel.
    others = sum((other.among(one.trials) for other in before), np.zeros((len(own), len(own))))
    rest = RIDGE * np.linalg.inv(others + RIDGE * np.eye(len(own)))
    kernel = rest @ _centred(one.kernel) @ rest
    fit = np.linalg.solve(kernel + RIDGE * np.eye(len(own)), kernel)
    explained = 2 * fit - fit @ fit
    # Ranks are permuted before effects are removed: exact if scores depend on nothing. In simulations with strong effects of
    # `before`, false alarms were at most 5 %; permuting the residuals (Freedman & Lane 1983) had up to 6 %.
    dealt = own[order] @ rest
    variation = np.square(dealt).sum(axis=1)
    shares: Numbers = np.einsum("pt,pt->p", dealt @ explained, dealt) / np.where(variation > 0, variation, 1.0)
    whole = float(np.square(own).sum())
    return _Test(shares=shares, left=float(variation[0]) / whole if whole else 0.0)


def _permutations(size: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """Return random permutations, (permutations, size); the first is the identity."""
    order = np.tile(np.arange(size), (NUM_PERMUTATIONS, 1))
    order[1:] = generator.permuted(order[1:], axis=1)
    return order


def _candidates(dimensions: Sequence[Dimension], positions: Sequence[Positions]) -> list[_Candidate]:
    """Return the hyperparameters with enough trials and more than one value."""
    conditions: dict[str, frozenset[str]] = {}
    found = []
    for dimension in dimensions:
        asked = frozenset(dimension.when or ())
        conditions[dimension.name] = asked.union(*(conditions.get(name, frozenset()) for name in asked))
        axis = axis_of(dimension)
        trials = [index for index, position in enumerate(positions) if axis.name in position]
        values = [positions[index][axis.name] for index in trials]
        if len(trials) >= MIN_COMPARED_TRIALS and len(set(map(repr, values))) > 1:
            kernel = _kernel(axis, values)
            found.append(
                _Candidate(
                    name=dimension.name, trials=np.array(trials), kernel=kernel, conditions=conditions[dimension.name]
                )
            )
    return found


def _centred(kernel: Numbers) -> Numbers:
    """Without its part that is the same for all trials."""
    by_row = kernel - kernel.mean(axis=0, keepdims=True)
    centred: Numbers = by_row - by_row.mean(axis=1, keepdims=True)
    return centred


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
    """Return ranks with mean 0; equal scores share their mean rank."""
    _, codes, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Numbers = (last - (counts - 1) / 2)[codes]
    ranks -= ranks.mean()
    return ranks
