"""How far a trial is trained: rungs, and who climbs to the next one.

Asynchronous successive halving with promotion, Algorithm 2 of Li et al. 2020, "A System for Massively Parallel
Hyperparameter Tuning" (https://arxiv.org/abs/1810.05934): whenever a slot is free, the best trial in the top 1/factor
of a rung that has not climbed yet goes on from its checkpoint; only where there is none, a new trial starts at the
bottom.

Promotions are delayed as in Hyper-Tune (D-ASHA, Li et al. 2022, https://arxiv.org/abs/2201.06834): at most 1/factor of
a rung's trials climb. With a sampler that learns, nearly each new trial is among the best so far, and the published
rule would promote nearly each of them.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from probe.search.records.objective import Mode

Rule = Literal["published", "closing", "open"]
"""Who may climb from a rung. published: whoever is in the top floor(n / factor), as long as fewer have climbed.
closing, for a search that starts no new trials: the best ones until ceil(n / factor) have climbed, so that no rung is a
dead end. open: whoever is best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """Trial `number` may train from the end of its rung to the end of rung `rung`, an index into the ladder's rungs."""

    number: int
    rung: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What the rest of a search may still hold: upper bounds, from its budget."""

    first_new: int
    """The number of the next new trial."""
    new_trials: float
    """How many may still start."""
    epochs: float
    """That jobs which have not ended may still cost, all together."""
    open_epochs: float
    """Those of them that promotions by the rule `open` may cost."""
    prices: Sequence[float]
    """The least that the way to each rung costs a trial that does not die on it."""
    on_the_way: Mapping[int, int]
    """Trial number -> the rung that it is running to, or waits to run to."""

    def num_affordable(self, rung: int) -> float:
        """Trials whose way to `rung` the epochs pay for."""
        return math.inf if math.isinf(self.epochs) else self.epochs // self.prices[rung]

    def num_open(self, rung: int) -> int:
        """How many may climb to `rung` by the rule `open`."""
        return int(self.open_epochs // self.prices[rung])

    def num_on_the_way(self, rung: int) -> int:
        return sum(aim == rung for aim in self.on_the_way.values())


Rank = tuple[float, int]
"""(badness, number): sorts best first, of equal scores the earlier trial first."""


@dataclass(slots=True)
class _Rung:
    ranked: list[Rank] = field(default_factory=list)
    """Best first."""
    waiting: list[Rank] = field(default_factory=list)
    """Those of them that did not climb."""
    num_lost: int = 0
    """Trials that died on it. They count as ranked last: a rung where two of three diverge still promotes one of
    three."""
    num_completed: int = 0
    """Trials that came to their end on it. They count, but hold no place among those that climb."""
    num_promoted: int = 0


class Scheduler:
    """The rungs and everybody's standing on them. Only `enter`, `record`, `complete`, `lose`, `drop` and `promote` change
    anything.

    Below rung `first_decision_rung` nobody is held back: whoever reaches a rung there may climb. `costs`: epochs that the job
    of climbing to each rung costs, where that is not the difference of the rungs.
    """

    def __init__(
        self,
        rungs: Sequence[int],
        *,
        factor: int,
        mode: Mode,
        first_decision_rung: int = 0,
        costs: Sequence[float] | None = None,
    ) -> None:
        if not rungs or list(rungs) != sorted(set(rungs)) or rungs[0] < 1:
            raise ValueError(f"rungs must be growing positive numbers, not {list(rungs)}")
        self.rungs = tuple(rungs)
        self.factor = factor
        self.first_decision_rung = first_decision_rung
        self.costs = tuple(costs) if costs is not None else tuple(b - a for a, b in pairwise((0, *rungs)))
        self._sign = -1.0 if mode == "max" else 1.0
        self._rungs = [_Rung() for _ in rungs]

    @property
    def top(self) -> int:
        return len(self.rungs) - 1

    def epochs_between(self, rung: int) -> float:
        """Epochs that the job of climbing to `rung` costs."""
        return self.costs[rung]

    def num_ranked(self, rung: int) -> int:
        found = self._rungs[rung]
        return len(found.ranked) + found.num_lost + found.num_completed

    def num_promoted(self, rung: int) -> int:
        return self._rungs[rung].num_promoted

    def enter(self, number: int) -> None:
        """Trial `number` starts on its way to the first rung."""

    def record(self, number: int, rung: int, score: float | None) -> None:
        """Trial `number` reached the end of `rung` with this score (finite, larger is better where the mode is max).
        None: its objective has no value yet; it ranks behind all that have one."""
        if score is not None and not math.isfinite(score):
            raise ValueError(f"trial {number}: a score on a rung must be finite, not {score}")
        badness = math.inf if score is None else self._sign * score
        for standings in (self._rungs[rung].ranked, self._rungs[rung].waiting):
            insort(standings, (badness, number))

    def complete(self, number: int, rung: int) -> None:
        """Trial `number` stopped improving on the way to `rung`: it is complete and will not climb."""
        self._rungs[rung].num_completed += 1

    def lose(self, number: int, rung: int) -> None:
        """Trial `number` ended on the way to `rung` for a reason of its own: out of memory, diverged, too slow, too
        large."""
        self._rungs[rung].num_lost += 1

    def drop(self, number: int, rung: int) -> None:
        """Trial `number` ended on the way to `rung` for a reason that says nothing about it: it is not ranked."""

    def promote(self, promotion: Promotion) -> None:
        left = self._rungs[promotion.rung - 1]
        left.waiting.remove(next(standing for standing in left.waiting if standing[1] == promotion.number))
        left.num_promoted += 1

    def next_promotion(self, *, max_epochs: float = math.inf, rule: Rule = "published") -> Promotion | None:
        """The best trial that may climb, from the highest rung that has one, for at most `max_epochs` epochs."""
        for climbed in reversed(range(1, len(self.rungs))):
            waiting = self._rungs[climbed - 1].waiting
            if (
                waiting
                and self.epochs_between(climbed) <= max_epochs
                and self._may_promote(climbed - 1, waiting[0], rule)
            ):
                return Promotion(number=waiting[0][1], rung=climbed)
        return None

    def out_of_reach(self, outlook: Outlook) -> list[tuple[int, int]]:
        """(trial, rung) of the waiting trials that no promotion can reach any more, by any rule.

        Deaths of trials that were promoted let others climb in their place. As many of them as there were, and one
        more, are provided for; beyond that a trial that was out of reach may climb after all.
        """
        return [
            (number, rung)
            for rung, numbers in enumerate(self.beyond_rank(outlook))
            for number in numbers[outlook.num_open(rung + 1) :]
        ]

    def beyond_rank(self, outlook: Outlook) -> list[list[int]]:
        """On each rung the waiting trials that only the rule `open` can reach, in the order in which it takes them."""
        found = []
        arriving = min(outlook.new_trials, outlook.num_affordable(0))
        for rung in range(self.top):
            waiting = self._rungs[rung].waiting
            num_reachable = self._num_reachable(rung, arriving, outlook)
            found.append([number for _, number in waiting[num_reachable:]])
            num_promoting = min(len(waiting), num_reachable + outlook.num_open(rung + 1))
            arriving += num_promoting + outlook.num_on_the_way(rung)
            arriving = min(arriving, outlook.num_affordable(rung + 1))
        return found

    def waiting(self) -> list[tuple[int, int]]:
        """(trial, rung) of all that wait: from the lowest rung up, on each rung the worst first."""
        return [(number, rung) for rung, found in enumerate(self._rungs) for _, number in reversed(found.waiting)]

    def _num_reachable(self, rung: int, arriving: float, outlook: Outlook) -> int:
        """How many of those that wait on `rung` the rules `published` and `closing` may still promote, while at most
        `arriving` more trials start on their way to it. Trials wait in order, and a promotion takes the first."""
        here, above = self._rungs[rung], self._rungs[rung + 1]
        num_ranked = self.num_ranked(rung) + outlook.num_on_the_way(rung)
        price, price_above, whole = outlook.prices[rung], outlook.prices[rung + 1], self.epochs_between(rung + 1)

        def is_out_of_reach(place: int, deaths_here: int, deaths_above: int) -> bool:
            cost = max(0, place - deaths_above) * price_above + whole  # whoever waits ahead climbs first
            if rung < self.first_decision_rung:
                return cost > outlook.epochs
            num_promoting = here.num_promoted + place - above.num_lost - deaths_above
            missing = max(0, self.factor * num_promoting + 1 - num_ranked)
            return missing > arriving or cost + max(0, missing - deaths_here) * price > outlook.epochs

        places = range(len(here.waiting))
        if not places or (is_out_of_reach(0, here.num_lost + 1, 0) and not outlook.num_on_the_way(rung + 1)):
            return 0  # and nobody is or will be above who could die there
        deaths = (here.num_lost + 1, above.num_lost + 1)
        return bisect_left(places, True, key=lambda place: is_out_of_reach(place, *deaths))

    def _may_promote(self, rung: int, best_waiting: Rank, rule: Rule) -> bool:
        left = self._rungs[rung]
        if rung < self.first_decision_rung:
            return True
        num_promoting = left.num_promoted - self._rungs[rung + 1].num_lost
        if rule == "published":
            num_allowed = self.num_ranked(rung) // self.factor
            return num_promoting < num_allowed and bisect_left(left.ranked, best_waiting) < num_allowed
        return rule == "open" or num_promoting < -(-self.num_ranked(rung) // self.factor)


def make_rungs(lowest: int, highest: int, factor: int) -> tuple[int, ...]:
    """`lowest * factor^k` epochs, by whole multiplication (a floored logarithm misses a rung at 243 and 3), then
    `highest`.

    The last rung below `highest` is left out where it is nearer to `highest` than to the rung after it, in ratio: with
    1..10 and 3 the rungs are 1, 3, 10, as ranking at 9 would cost an epoch of waiting and tell nothing.
    """
    if not 1 <= lowest <= highest or factor < 2:
        raise ValueError(f"expected 1 <= lowest <= highest and factor >= 2, got {lowest}, {highest}, {factor}")
    rungs = []
    rung = lowest
    while rung < highest:
        rungs.append(rung)
        rung *= factor
    if len(rungs) > 1 and Fraction(highest, rungs[-1]) ** 2 < factor:
        rungs.pop()
    return (*rungs, highest)
