"""Asynchronous successive halving (ASHA) with delayed promotions.

The scheduler is Algorithm 2 of Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning"
(https://arxiv.org/abs/1810.05934): if a slot is free, the best trial in the top 1/factor of a rung that has not been promoted
yet resumes from its checkpoint; if there is none, a new trial starts on the lowest rung.

Promotions are delayed as in Hyper-Tune (D-ASHA, Li et al. 2022, https://arxiv.org/abs/2201.06834): at most 1/factor of the
trials on a rung are promoted. With a sampler that learns, nearly each new trial is among the best so far, and the original
rule would promote nearly each of them.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from probe.search.records.objective import Mode
from probe.search.schedulers.protocol import Outlook, Promotion, Rule

Rank = tuple[float, int]
"""(badness, trial number): sorts the best trial first, and the earlier one of two with equal scores."""


@dataclass(slots=True)
class _Rung:
    ranked: list[Rank] = field(default_factory=list)
    """All trials with a score, best first."""
    paused: list[Rank] = field(default_factory=list)
    """The ranked trials that have not been promoted, best first."""
    num_failed: int = 0
    """Number of trials that failed on the way to it. They count as ranked last: if two of three trials diverge, the rung still
    promotes one of three."""
    num_completed: int = 0
    """Number of trials that were completed on the way to it. They count, but cannot be promoted."""
    num_promoted: int = 0


class AsynchronousSuccessiveHalving:
    """The scheduler `asha`; the methods are documented in `protocol.Scheduler`."""

    def __init__(
        self,
        rungs: Sequence[int],
        *,
        factor: int,
        mode: Mode,
        first_decision_rung: int = 0,
        costs: Sequence[float] | None = None,
    ) -> None:
        """See `registry.make_scheduler`. From rungs below `first_decision_rung`, every trial may be promoted."""
        if not rungs or list(rungs) != sorted(set(rungs)) or rungs[0] < 1:
            raise ValueError(f"rungs must be positive and ascending, not {list(rungs)}")
        self.rungs = tuple(rungs)
        self.factor = factor
        self.first_decision_rung = first_decision_rung
        self.costs = tuple(costs) if costs is not None else tuple(b - a for a, b in pairwise((0, *rungs)))
        self._sign = -1.0 if mode == "max" else 1.0
        self._rungs = [_Rung() for _ in rungs]

    @property
    def top(self) -> int:
        return len(self.rungs) - 1

    def num_ranked(self, rung: int) -> int:
        """Number of trials that count on `rung`."""
        found = self._rungs[rung]
        return len(found.ranked) + found.num_failed + found.num_completed

    def num_promoted(self, rung: int) -> int:
        return self._rungs[rung].num_promoted

    def enter(self, number: int) -> None:
        """This scheduler does not need to know."""

    def record(self, number: int, rung: int, score: float | None) -> None:
        if score is not None and not math.isfinite(score):
            raise ValueError(f"trial {number}: a score must be finite, not {score}")
        badness = math.inf if score is None else self._sign * score
        for ranks in (self._rungs[rung].ranked, self._rungs[rung].paused):
            insort(ranks, (badness, number))

    def complete(self, number: int, rung: int) -> None:
        self._rungs[rung].num_completed += 1

    def fail(self, number: int, rung: int) -> None:
        self._rungs[rung].num_failed += 1

    def drop(self, number: int, rung: int) -> None:
        """A dropped trial has no rank."""

    def promote(self, promotion: Promotion) -> None:
        source = self._rungs[promotion.rung - 1]
        source.paused.remove(next(rank for rank in source.paused if rank[1] == promotion.number))
        source.num_promoted += 1

    def next_promotion(self, *, max_epochs: float = math.inf, rule: Rule = "published") -> Promotion | None:
        # get_job of Algorithm 2: from the highest rung down, the best trial that may be promoted.
        for target in reversed(range(1, len(self.rungs))):
            paused = self._rungs[target - 1].paused
            if paused and self.costs[target] <= max_epochs and self._may_promote(target - 1, paused[0], rule):
                return Promotion(number=paused[0][1], rung=target)
        return None

    def out_of_reach(self, outlook: Outlook) -> list[tuple[int, int]]:
        return [
            (number, rung)
            for rung, numbers in enumerate(self.beyond_rank(outlook))
            for number in numbers[outlook.num_open(rung + 1) :]
        ]

    def beyond_rank(self, outlook: Outlook) -> list[list[int]]:
        """For each rung, the paused trials that only the rule `open` can promote, in the order of their promotions."""
        found = []
        arriving = min(outlook.new_trials, outlook.num_affordable(0))
        for rung in range(self.top):
            paused = self._rungs[rung].paused
            num_reachable = self._num_reachable(rung, arriving, outlook)
            found.append([number for _, number in paused[num_reachable:]])
            num_promoting = min(len(paused), num_reachable + outlook.num_open(rung + 1))
            arriving += num_promoting + outlook.num_on_the_way(rung)
            arriving = min(arriving, outlook.num_affordable(rung + 1))
        return found

    def paused(self) -> list[tuple[int, int]]:
        return [(number, rung) for rung, found in enumerate(self._rungs) for _, number in reversed(found.paused)]

    def _num_reachable(self, rung: int, arriving: float, outlook: Outlook) -> int:
        """How many of the trials paused on `rung` may still be promoted by the rules `published` and `closing`, in
        their order, if at most `arriving` more trials start training to the rung."""
        here, above = self._rungs[rung], self._rungs[rung + 1]
        num_ranked = self.num_ranked(rung) + outlook.num_on_the_way(rung)
        price, price_above, whole = outlook.prices[rung], outlook.prices[rung + 1], self.costs[rung + 1]

        def is_out_of_reach(place: int, failures_here: int, failures_above: int) -> bool:
            # The trials paused ahead of this one are promoted first.
            cost = max(0, place - failures_above) * price_above + whole
            if rung < self.first_decision_rung:
                return cost > outlook.epochs
            num_promoting = here.num_promoted + place - above.num_failed - failures_above
            # ceil(n / factor) exceeds num_promoting once n > factor * num_promoting trials are ranked.
            missing = max(0, self.factor * num_promoting + 1 - num_ranked)
            return missing > arriving or cost + max(0, missing - failures_here) * price > outlook.epochs

        places = range(len(here.paused))
        if not places or (is_out_of_reach(0, here.num_failed + 1, 0) and not outlook.num_on_the_way(rung + 1)):
            return 0  # no trial on the way to the rung above could fail and make room
        failures = (here.num_failed + 1, above.num_failed + 1)
        return bisect_left(places, True, key=lambda place: is_out_of_reach(place, *failures))

    def _may_promote(self, rung: int, best_paused: Rank, rule: Rule) -> bool:
        source = self._rungs[rung]
        if rung < self.first_decision_rung:
            return True
        num_promoting = source.num_promoted - self._rungs[rung + 1].num_failed
        if rule == "published":
            # Top 1/factor of the rung (Algorithm 2 of Li et al. 2020), and at most 1/factor promoted (D-ASHA, Li et al. 2022).
            num_allowed = self.num_ranked(rung) // self.factor
            return num_promoting < num_allowed and bisect_left(source.ranked, best_paused) < num_allowed
        return rule == "open" or num_promoting < -(-self.num_ranked(rung) // self.factor)


def make_rungs(lowest: int, highest: int, factor: int) -> tuple[int, ...]:
    """The rungs `lowest * factor^k` below `highest`, then `highest`.

    They are multiplied as integers, since a floored logarithm misses a rung at 243 and factor 3. The last rung below
    `highest` is left out if it is closer to `highest` than to the next rung, in ratio: 1..10 with factor 3 gives 1, 3,
    10.
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
