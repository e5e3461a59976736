"""Which hyperparameters the trials' scores depend on, told apart from chance. Pure.

A hyperparameter's importance is the share of the variation of the trials' ranks that a smooth curve over its values (for
choices: their means) explains, beyond what it would explain by chance. Chance is a permutation test: the scores are dealt out
to the trials anew, and the largest standardized statistic over all hyperparameters makes the null distribution (Westfall &
Young 1993, Resampling-Based Multiple Testing), so that with scores that depend on nothing at most one search in twenty
reports anything. The curve is kernel ridge regression and its test the kernel score test of Liu, Lin & Ghosh 2007
(https://doi.org/10.1111/j.1541-0420.2007.00799.x). In a simulation with 20
trials and noise of 0.7 standard deviations of the effect, the same test of PED-ANOVA's statistic, which compares the few best
trials with all of them, found an optimum inside of the range in one search of twenty, and this one in half of them.

A hyperparameter that exists in some trials only is weighed among these: scores are dealt out among them, the effect of what
its condition asks about is taken out first, and its share is of their variation. As a share of all trials' variation, its
importance would depend on how often the sampler chose to have it: a momentum that decides about SGD would weigh ten times
more in a search that tried SGD more often.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from probe.search.records.importance import MIN_COMPARED_TRIALS, Importance
from probe.search.records.search import Dimension, ParamValue
from probe.search.space.space import Axis, Positions, axis_of

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
class _Candidate:
    """A hyperparameter with which scores may vary."""

    name: str
    trials: NDArray[np.intp]
    """Indices of the trials that have it."""
    kernel: Numbers
    """(trials, trials)"""
    conditions: frozenset[str]
    """The hyperparameters that decide whether it exists."""

    def among(self, trials: NDArray[np.intp]) -> Numbers:
        """(trials, trials): its kernel, centred, and 0 where it does not exist."""
        common, own, places = np.intersect1d(self.trials, trials, assume_unique=True, return_indices=True)
        kernel = np.zeros((len(trials), len(trials)))
        if len(common):
            kernel[np.ix_(places, places)] = _centred(self.kernel[np.ix_(own, own)])
        return kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class _Test:
    """What one hyperparameter explains of the ranks that are left to explain, as they are and dealt out anew."""

    shares: Numbers
    """(permutations,): of the variation, the ranks as they are first."""
    left: float
    """The share of the variation among its trials that is left to explain."""

    @property
    def standardized(self) -> Numbers:
        deviation = self.shares.std()
        found: Numbers = (self.shares - self.shares.mean()) / (deviation if deviation > 0 else math.inf)
        return found

    @property
    def share(self) -> float:
        """Beyond chance, of the variation among its trials."""
        chance = float(self.shares.mean())
        return self.left * (float(self.shares[0]) - chance) / (1 - chance)


def importance(
    dimensions: Sequence[Dimension], scored: Sequence[tuple[Positions, float]]
) -> Mapping[str, Importance] | None:
    """The hyperparameters that stand out above chance, by the share of the variation of the ranks, among the trials that have
    them, that each explains; the largest first. Shares of hyperparameters that always exist are together at most 1. None with
    fewer than MIN_COMPARED_TRIALS trials that can be compared.

    `scored` holds positions and scores of equally long trained trials. The one that stands out most is taken out of the ranks
    before the others are tested: a sampler that learns tries good values of several hyperparameters together, and what is due
    to one of them would be put down to the others, too.
    """
    if len(scored) < MIN_COMPARED_TRIALS:
        return None
    compared = scored[:: -(-len(scored) // MAX_TRIALS)]
    waiting = _candidates(dimensions, [positions for positions, _ in compared])
    everyone = list(waiting)
    ranks = _ranks([score for _, score in compared])
    # Other permutations for other scores: with the same ones in all searches, chance in them would be in all of them.
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
    """The index of the hyperparameter that stands out most; None where none does."""
    standardized = np.stack([test.standardized for test in tests])  # (hyperparameters, permutations)
    largest = standardized.max(axis=0)
    if np.mean(largest >= largest[0]) > FALSE_ALARMS:  # the scores as they are count among the permutations
        return None
    return int(standardized[:, 0].argmax())


def _test(one: _Candidate, before: Sequence[_Candidate], ranks: Numbers, order: NDArray[np.intp]) -> _Test:
    """`before`: what is taken out of the ranks among this one's trials. `order`: (permutations, trials)."""
    own = ranks[one.trials]
    own = own - own.mean()
    # What ridge regression on all of `before` together leaves of the ranks, and of this one's kernel.
    others = sum((other.among(one.trials) for other in before), np.zeros((len(own), len(own))))
    rest = RIDGE * np.linalg.inv(others + RIDGE * np.eye(len(own)))
    kernel = rest @ _centred(one.kernel) @ rest
    fit = np.linalg.solve(kernel + RIDGE * np.eye(len(own)), kernel)
    explained = 2 * fit - fit @ fit
    # Ranks are dealt out before anything is taken out of them: exact where scores depend on nothing, and in simulations with
    # strong effects of `before` at most 5 % of false alarms, where dealing out what is left (Freedman & Lane 1983) had up to 6.
    dealt = own[order] @ rest
    variation = np.square(dealt).sum(axis=1)
    shares: Numbers = np.einsum("pt,pt->p", dealt @ explained, dealt) / np.where(variation > 0, variation, 1.0)
    whole = float(np.square(own).sum())
    return _Test(shares=shares, left=float(variation[0]) / whole if whole else 0.0)


def _permutations(size: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """(permutations, size): the first leaves everything in its place."""
    order = np.tile(np.arange(size), (NUM_PERMUTATIONS, 1))
    order[1:] = generator.permuted(order[1:], axis=1)
    return order


def _candidates(dimensions: Sequence[Dimension], positions: Sequence[Positions]) -> list[_Candidate]:
    """Without those that too few trials have, or that have the same value in all of them."""
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
    """With mean 0, equal scores sharing their mean rank."""
    _, codes, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Numbers = (last - (counts - 1) / 2)[codes]
    ranks -= ranks.mean()
    return ranks
