"""Synchronous successive halving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probe.search.records.objective import Mode
from probe.search.schedulers.asha import AsynchronousSuccessiveHalving, Rank
from probe.search.schedulers.groups import GroupedScheduler
from probe.search.schedulers.protocol import Outlook, Promotion, Rule


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
