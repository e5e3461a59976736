"""How many checkpoints a search keeps at a time, before it begins. Pure.

The search is played through with made-up scores, by the same decisions about trials, promotions and checkpoints.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from probe.search.records.search import BudgetLimits
from probe.search.schedulers.protocol import Scheduler
from probe.search.study.budget import NewTrial, Usage, next_step, outlook

MAX_PLAYED = 200
"""Trials; what a longer search keeps is taken to grow in proportion."""


def peak_checkpoints(make_scheduler: Callable[[], Scheduler], limits: BudgetLimits) -> int | None:
    """The most checkpoints that one worker leaves at a time: the largest count over trials that come in random order, the
    best first, and the best last. None where only time limits the search, so that nobody knows how many trials it has.

    Trials that die leave fewer. Each further worker adds the one that it goes on from and the one that it writes, and with
    `halving` the cohorts that it starts instead of waiting.
    """
    scheduler = make_scheduler()
    cost = scheduler.epochs_between(0)
    num_trials = min(
        math.inf if limits.trials is None else limits.trials,
        math.inf if limits.epochs is None else limits.epochs / cost,
    )
    if math.isinf(num_trials):
        return None
    shrink = min(1.0, MAX_PLAYED / max(1.0, num_trials))
    played = BudgetLimits(
        trials=None if limits.trials is None else math.ceil(limits.trials * shrink),
        epochs=None if limits.epochs is None else limits.epochs * shrink,
    )
    draws = [random.Random(seed).random for seed in range(2)]
    orders: list[Callable[[int], float]] = [lambda n: n, lambda n: -n, *(lambda n, draw=draw: draw() for draw in draws)]
    return math.ceil(max(_play(make_scheduler(), played, order) for order in orders) / shrink)


def _play(scheduler: Scheduler, limits: BudgetLimits, score: Callable[[int], float]) -> int:
    """The most checkpoints at a time where trial n scores `score(n)` on each rung."""
    num_trials, spent, peak = 0, 0.0, 0
    kept: set[tuple[int, int]] = set()
    while True:
        usage = Usage(trials=num_trials, spent_epochs=spent)
        step = next_step(scheduler, limits, usage)
        if step is None:
            return peak
        if isinstance(step, NewTrial):
            number, rung = num_trials, 0
            num_trials += 1
            scheduler.enter(number)
        else:
            number, rung = step.number, step.rung
            scheduler.promote(step)
        spent += scheduler.epochs_between(rung)
        scheduler.record(number, rung, score(number))
        if rung < scheduler.top:
            kept.add((number, rung))
        peak = max(peak, len(kept))
        kept.discard((number, rung - 1))
        usage = Usage(trials=num_trials, spent_epochs=spent)
        kept -= set(scheduler.out_of_reach(outlook(scheduler, limits, usage, prices=scheduler.costs, on_the_way={})))
