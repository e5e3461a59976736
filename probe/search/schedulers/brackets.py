"""Ladders made of several: synchronous successive halving, and Hyperband's brackets. Pure.

Every trial's place is a function of its number, so that a search made again from its events has the same ladder.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal, get_args

from probe.search.records.objective import Mode
from probe.search.schedulers.successive_halving import Outlook, Promotion, Rule, Scheduler

SchedulerName = Literal["none", "halving", "asha", "hyperband"]
LADDER_NAMES: tuple[SchedulerName, ...] = get_args(SchedulerName)


def make_scheduler(
    name: SchedulerName, rungs: Sequence[int], *, factor: int, mode: Mode, costs: Sequence[float] | None = None
) -> Scheduler:
    """The ladder of a recipe. For `none`, `rungs` is one rung, and every ladder is alike. `costs`: as Ladder has them."""
    if name == "halving":
        return Halving(rungs, factor=factor, mode=mode, costs=costs)
    if name == "hyperband":
        return Hyperband(rungs, factor=factor, mode=mode, costs=costs)
    return Scheduler(rungs, factor=factor, mode=mode, costs=costs)


class _Parts(Scheduler, ABC):
    """Ladders over the same rungs side by side, each with its own trials. Of the trials that may climb, the one that climbs
    highest goes first; of those, the one of the earliest ladder."""

    def __init__(self, rungs: Sequence[int], *, factor: int, mode: Mode, costs: Sequence[float] | None = None) -> None:
        super().__init__(rungs, factor=factor, mode=mode, costs=costs)
        self._mode: Mode = mode
        self._parts: dict[int, Scheduler] = {}
        self._beyond: dict[int, list[list[int]]] = {}
        """`beyond_rank` of the ladders on which nothing happens; a search may have a thousand of them."""

    @abstractmethod
    def part_of(self, number: int) -> int:
        """Which of the ladders trial `number` is on."""

    @abstractmethod
    def make_part(self, part: int) -> Scheduler: ...

    def num_ranked(self, rung: int) -> int:
        return sum(part.num_ranked(rung) for part in self._parts.values())

    def num_promoted(self, rung: int) -> int:
        return sum(part.num_promoted(rung) for part in self._parts.values())

    def enter(self, number: int) -> None:
        self._scheduler_of(number).enter(number)

    def record(self, number: int, rung: int, score: float | None) -> None:
        self._scheduler_of(number).record(number, rung, score)

    def complete(self, number: int, rung: int) -> None:
        self._scheduler_of(number).complete(number, rung)

    def lose(self, number: int, rung: int) -> None:
        self._scheduler_of(number).lose(number, rung)

    def drop(self, number: int, rung: int) -> None:
        self._scheduler_of(number).drop(number, rung)

    def promote(self, promotion: Promotion) -> None:
        self._scheduler_of(promotion.number).promote(promotion)

    def next_promotion(self, *, max_epochs: float = math.inf, rule: Rule = "published") -> Promotion | None:
        found: Promotion | None = None
        for part in sorted(self._parts):
            promotion = self._parts[part].next_promotion(max_epochs=max_epochs, rule=rule)
            if promotion is not None and (found is None or promotion.rung > found.rung):
                found = promotion
        return found

    @abstractmethod
    def num_new(self, part: int, outlook: Outlook) -> float:
        """How many of the trials that may still start would be on this ladder."""

    def beyond_rank(self, outlook: Outlook) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in range(self.top)]
        on_the_way: dict[int, dict[int, int]] = {number: {} for number in self._parts}
        for trial, rung in outlook.on_the_way.items():
            on_the_way.setdefault(self.part_of(trial), {})[trial] = rung
        for number in sorted(self._parts):
            beyond = self._beyond.get(number)
            if beyond is None:
                new, own = self.num_new(number, outlook), on_the_way[number]
                beyond = self._parts[number].beyond_rank(replace(outlook, new_trials=new, on_the_way=own))
                if not new and not own:
                    self._beyond[number] = beyond
            for on_rung, numbers in zip(found, beyond, strict=True):
                on_rung += numbers
        return found

    def waiting(self) -> list[tuple[int, int]]:
        return sorted((pair for part in self._parts.values() for pair in part.waiting()), key=lambda pair: pair[1])

    def _scheduler_of(self, number: int) -> Scheduler:
        part = self.part_of(number)
        self._beyond.pop(part, None)
        if part not in self._parts:
            self._parts[part] = self.make_part(part)
        return self._parts[part]


class Halving(_Parts):
    """Successive halving, round by round (Jamieson & Talwalkar 2016, https://arxiv.org/abs/1502.07943).

    `factor ** top` trials make a cohort, of which one reaches the top. A rung is decided once, when all of the cohort's trials
    on it have ended: the best 1/factor climb, at least one. A slot that would have to wait starts the next cohort, as in
    section 3 of Li et al. 2020. Of a cohort that the budget does not fill, the trials that there are decide.
    """

    def part_of(self, number: int) -> int:
        return number // self.cohort_size

    def num_new(self, part: int, outlook: Outlook) -> float:
        begin, end = (max(outlook.first_new, edge * self.cohort_size) for edge in (part, part + 1))
        return max(0, min(end, outlook.first_new + outlook.new_trials) - begin)

    def make_part(self, part: int) -> Scheduler:
        return _Cohort(self.rungs, factor=self.factor, mode=self._mode, size=self.cohort_size, costs=self.costs)

    @property
    def cohort_size(self) -> int:
        return int(self.factor**self.top)


@dataclass(slots=True)
class _Flow:
    """Of one rung of a cohort."""

    num_entered: int = 0
    """Trials that went on their way to it."""
    num_dropped: int = 0


class _Cohort(Scheduler):
    def __init__(
        self, rungs: Sequence[int], *, factor: int, mode: Mode, size: int, costs: Sequence[float] | None = None
    ) -> None:
        super().__init__(rungs, factor=factor, mode=mode, costs=costs)
        self._size = size
        self._flows = [_Flow() for _ in rungs]

    def enter(self, number: int) -> None:
        self._flows[0].num_entered += 1

    def drop(self, number: int, rung: int) -> None:
        self._flows[rung].num_dropped += 1

    def promote(self, promotion: Promotion) -> None:
        super().promote(promotion)
        self._flows[promotion.rung].num_entered += 1

    def _may_promote(self, rung: int, best_waiting: tuple[float, int], rule: Rule) -> bool:
        num_expected = self._num_due(rung) if rule == "published" else self._flows[rung].num_entered
        if self.num_ranked(rung) + self._flows[rung].num_dropped < num_expected:
            return False
        if rule == "published":
            return self.num_promoted(rung) < self._num_promoting(rung)
        return super()._may_promote(rung, best_waiting, rule)

    def _num_due(self, rung: int) -> int:
        """Trials that must have ended on a rung before it is decided."""
        return self._size if rung == 0 else max(self._num_promoting(rung - 1), self._flows[rung].num_entered)

    def _num_promoting(self, rung: int) -> int:
        """How many of the trials on a rung climb, once all are there; trials that died cannot."""
        alive = len(self._rungs[rung].ranked)
        return min(alive, max(1, self.num_ranked(rung) // self.factor))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """One bracket of Hyperband: successive halving of `num_trials` trials, the first decision after `first_decision_rung`."""

    first_decision_rung: int
    num_trials: int
    """In one round of all brackets."""


class Hyperband(_Parts):
    """Hyperband's brackets (Li et al. 2018, https://arxiv.org/abs/1603.06560), each of them promoting asynchronously.

    It hedges against first rungs that say little about the last: the brackets hold back their first judgement for one rung
    more each, and the most patient one trains all of its trials to the top. Trials are dealt out to the brackets one by one
    in Hyperband's proportions, so that a search that ends early has had some of each. A trial of a patient bracket goes
    through the rungs below as well, unjudged: so all trials have a first-rung score that the sampler can compare.
    """

    def __init__(self, rungs: Sequence[int], *, factor: int, mode: Mode, costs: Sequence[float] | None = None) -> None:
        super().__init__(rungs, factor=factor, mode=mode, costs=costs)
        self._dealt = deal(brackets_of(self.top, factor))

    def part_of(self, number: int) -> int:
        return self._dealt[number % len(self._dealt)]

    def num_new(self, part: int, outlook: Outlook) -> float:
        new = min(outlook.new_trials, outlook.num_affordable(0))
        if math.isinf(new):
            return new
        rounds, rest = divmod(int(new), len(self._dealt))
        begun = sum(self.part_of(outlook.first_new + number) == part for number in range(rest))
        return rounds * self._dealt.count(part) + begun

    def make_part(self, part: int) -> Scheduler:
        return Scheduler(self.rungs, factor=self.factor, mode=self._mode, first_decision_rung=part, costs=self.costs)


def brackets_of(top: int, factor: int) -> tuple[Bracket, ...]:
    """Of a ladder whose last rung is number `top`: ceil((top + 1) / (s + 1) * factor^s) trials for s = top ... 0, as in
    Algorithm 1 of Li et al., in whole numbers."""
    return tuple(
        Bracket(first_decision_rung=top - s, num_trials=-(-(top + 1) * factor**s // (s + 1)))
        for s in range(top, -1, -1)
    )


@dataclass(slots=True)
class _Share:
    bracket: Bracket
    num_dealt: int = field(default=0)


def deal(brackets: Sequence[Bracket]) -> tuple[int, ...]:
    """One round of all brackets, as the `first_decision_rung` of each trial: the bracket furthest behind its share, then the
    least patient one."""
    shares = [_Share(bracket) for bracket in brackets]
    dealt = []
    for _ in range(sum(bracket.num_trials for bracket in brackets)):
        share = min(shares, key=lambda share: Fraction(share.num_dealt + 1, share.bracket.num_trials))
        share.num_dealt += 1
        dealt.append(share.bracket.first_decision_rung)
    return tuple(dealt)
