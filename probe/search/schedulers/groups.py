"""Base class of schedulers that divide the trials into groups."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from probe.search.records.objective import Mode
from probe.search.schedulers.asha import AsynchronousSuccessiveHalving
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
