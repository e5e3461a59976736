"""Hyperband: successive halving with several first rungs side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from probe.search.records.objective import Mode
from probe.search.schedulers.asha import AsynchronousSuccessiveHalving
from probe.search.schedulers.protocol import Outlook
from probe.search.schedulers.successive_halving import GroupedScheduler


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """A bracket of Hyperband: successive halving with the first decision after rung `first_decision_rung`."""

    first_decision_rung: int
    num_trials: int
    """Number of its trials in one round of all brackets."""


class Hyperband(GroupedScheduler):
    """Hyperband (Li et al. 2018, https://arxiv.org/abs/1603.06560) whose brackets promote asynchronously.

    Hyperband hedges against first rungs that say little about the last one: each bracket makes its first decision one rung
    later than the bracket before, and the last bracket trains all of its trials to the top. Trials are dealt to the brackets
    one by one in Hyperband's proportions, so that a search that ends early has trials of each. A trial also passes the rungs
    below its bracket's first decision, so that the sampler can compare the scores of all trials on the first rung.
    """

    def __init__(self, rungs: Sequence[int], *, factor: int, mode: Mode, costs: Sequence[float] | None = None) -> None:
        super().__init__(rungs, factor=factor, mode=mode, costs=costs)
        self._dealt = deal(brackets_of(self.top, factor))

    def group_of(self, number: int) -> int:
        return self._dealt[number % len(self._dealt)]

    def num_new(self, group: int, outlook: Outlook) -> float:
        new = min(outlook.new_trials, outlook.num_affordable(0))
        if math.isinf(new):
            return new
        rounds, rest = divmod(int(new), len(self._dealt))
        started = sum(self.group_of(outlook.first_new + number) == group for number in range(rest))
        return rounds * self._dealt.count(group) + started

    def make_group(self, group: int) -> AsynchronousSuccessiveHalving:
        return AsynchronousSuccessiveHalving(
            self.rungs, factor=self.factor, mode=self._mode, first_decision_rung=group, costs=self.costs
        )


def brackets_of(top: int, factor: int) -> tuple[Bracket, ...]:
    """The brackets for rungs 0 to `top`."""
    # Algorithm 1 of Li et al. 2018: ceil((top + 1) / (s + 1) * factor^s) trials for s = top ... 0, in integers.
    return tuple(
        Bracket(first_decision_rung=top - s, num_trials=-(-(top + 1) * factor**s // (s + 1)))
        for s in range(top, -1, -1)
    )


def deal(brackets: Sequence[Bracket]) -> tuple[int, ...]:
    """Deal one round of trials to the brackets: the `first_decision_rung` of each trial. The next trial goes to the
    bracket with the smallest fraction of its trials, then to the one that decides first."""
    counts = [0] * len(brackets)
    dealt = []
    for _ in range(sum(bracket.num_trials for bracket in brackets)):
        index = min(range(len(brackets)), key=lambda index: Fraction(counts[index] + 1, brackets[index].num_trials))
        counts[index] += 1
        dealt.append(brackets[index].first_decision_rung)
    return tuple(dealt)
