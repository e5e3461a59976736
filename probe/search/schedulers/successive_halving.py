"""Synchronous successive halving, and the base class of schedulers that divide the trials into groups."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

from probe.search.records.objective import Mode
from probe.search.schedulers.asha import AsynchronousSuccessiveHalving, Rank
from probe.search.schedulers.protocol import Outlook, Promotion, Rule


class GroupedScheduler(AsynchronousSuccessiveHalving, ABC):
    """Schedulers with the same rungs side by side, one for each group of trials.

    Of the promotions in all groups, the one to the highest rung comes first, then the one in the earliest group. The group of a
    trial is a function of its number, so that a search rebuilt from its events has the same groups.
    """

    def __init__(self, rungs: Sequence[int], *, factor: int, mode: Mode, costs: Sequence[float] | None = None) -> None:
        super().__init__(rungs, factor=factor, mode=mode, costs=costs)
        self._mode: Mode = mode
        self._groups: dict[int, AsynchronousSuccessiveHalving] = {}
        self._beyond: dict[int, list[list[int]]] = {}
        """Cached `beyond_rank` of the groups that have not changed; a search may have a thousand groups."""

    @abstractmethod
    def group_of(self, number: int) -> int:
        """The group of trial `number`."""

    @abstractmethod
    def make_group(self, group: int) -> AsynchronousSuccessiveHalving:
        """The scheduler of a new group."""

    @abstractmethod
    def num_new(self, group: int, outlook: Outlook) -> float:
        """How many of the trials that may still start would belong to a group."""

    def num_ranked(self, rung: int) -> int:
        return sum(group.num_ranked(rung) for group in self._groups.values())

    def num_promoted(self, rung: int) -> int:
        return sum(group.num_promoted(rung) for group in self._groups.values())

    def enter(self, number: int) -> None:
        self._scheduler_of(number).enter(number)

    def record(self, number: int, rung: int, score: float | None) -> None:
        self._scheduler_of(number).record(number, rung, score)

    def complete(self, number: int, rung: int) -> None:
        self._scheduler_of(number).complete(number, rung)

    def fail(self, number: int, rung: int) -> None:
        self._scheduler_of(number).fail(number, rung)

    def drop(self, number: int, rung: int) -> None:
        self._scheduler_of(number).drop(number, rung)

    def promote(self, promotion: Promotion) -> None:
        self._scheduler_of(promotion.number).promote(promotion)

    def next_promotion(self, *, max_epochs: float = math.inf, rule: Rule = "published") -> Promotion | None:
        found: Promotion | None = None
        for group in sorted(self._groups):
            promotion = self._groups[group].next_promotion(max_epochs=max_epochs, rule=rule)
            if promotion is not None and (found is None or promotion.rung > found.rung):
                found = promotion
        return found

    def beyond_rank(self, outlook: Outlook) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in range(self.top)]
        on_the_way: dict[int, dict[int, int]] = {number: {} for number in self._groups}
        for trial, rung in outlook.on_the_way.items():
            on_the_way.setdefault(self.group_of(trial), {})[trial] = rung
        for number in sorted(self._groups):
            beyond = self._beyond.get(number)
            if beyond is None:
                new, own = self.num_new(number, outlook), on_the_way[number]
                beyond = self._groups[number].beyond_rank(replace(outlook, new_trials=new, on_the_way=own))
                if not new and not own:
                    self._beyond[number] = beyond
            for on_rung, numbers in zip(found, beyond, strict=True):
                on_rung += numbers
        return found

    def paused(self) -> list[tuple[int, int]]:
        return sorted((pair for group in self._groups.values() for pair in group.paused()), key=lambda pair: pair[1])

    def _scheduler_of(self, number: int) -> AsynchronousSuccessiveHalving:
        group = self.group_of(number)
        self._beyond.pop(group, None)
        if group not in self._groups:
            self._groups[group] = self.make_group(group)
        return self._groups[group]


class SuccessiveHalving(GroupedScheduler):
    """Successive halving (Jamieson & Talwalkar 2016, https://arxiv.org/abs/1502.07943), the scheduler `halving`.

    A group is a cohort of `factor ** top` trials, one of which reaches the top rung. A rung is decided once, after all trials
    of the cohort on it have ended: the best 1/factor of them are promoted, at least one. A slot that would have to wait starts
    the next cohort, as in section 3 of Li et al. 2020. If the budget does not fill a cohort, its existing trials decide.
    """

    def group_of(self, number: int) -> int:
        return number // self.cohort_size

    def num_new(self, group: int, outlook: Outlook) -> float:
        begin, end = (max(outlook.first_new, edge * self.cohort_size) for edge in (group, group + 1))
        return max(0, min(end, outlook.first_new + outlook.new_trials) - begin)

    def make_group(self, group: int) -> AsynchronousSuccessiveHalving:
        return _Cohort(self.rungs, factor=self.factor, mode=self._mode, size=self.cohort_size, costs=self.costs)

    @property
    def cohort_size(self) -> int:
        return int(self.factor**self.top)


@dataclass(slots=True)
class _Counts:
    """Numbers of trials of a cohort on one rung."""

    num_entered: int = 0
    """Trials that started training to it."""
    num_dropped: int = 0


class _Cohort(AsynchronousSuccessiveHalving):
    def __init__(
        self, rungs: Sequence[int], *, factor: int, mode: Mode, size: int, costs: Sequence[float] | None = None
    ) -> None:
        super().__init__(rungs, factor=factor, mode=mode, costs=costs)
        self._size = size
        self._counts = [_Counts() for _ in rungs]

    def enter(self, number: int) -> None:
        self._counts[0].num_entered += 1

    def drop(self, number: int, rung: int) -> None:
        self._counts[rung].num_dropped += 1

    def promote(self, promotion: Promotion) -> None:
        super().promote(promotion)
        self._counts[promotion.rung].num_entered += 1

    def _may_promote(self, rung: int, best_paused: Rank, rule: Rule) -> bool:
        # A rung is decided once all of its trials have ended.
        num_expected = self._num_due(rung) if rule == "published" else self._counts[rung].num_entered
        if self.num_ranked(rung) + self._counts[rung].num_dropped < num_expected:
            return False
        if rule == "published":
            return self.num_promoted(rung) < self._num_promoting(rung)
        return super()._may_promote(rung, best_paused, rule)

    def _num_due(self, rung: int) -> int:
        """How many trials must have ended on a rung before it is decided."""
        return self._size if rung == 0 else max(self._num_promoting(rung - 1), self._counts[rung].num_entered)

    def _num_promoting(self, rung: int) -> int:
        """How many trials of a decided rung are promoted: 1/factor, at least one, at most those with a rank."""
        return min(len(self._rungs[rung].ranked), max(1, self.num_ranked(rung) // self.factor))
