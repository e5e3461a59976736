"""Which checkpoints of a search are kept, and how many at a time. Decisions only; files are deleted elsewhere.

A trial without a checkpoint is not lost: it is trained again from its seed, which takes time but changes no result. So
a checkpoint is discarded as soon as no promotion within the budget can reach its trial, and if the disk is full, those
of the worst paused trials are discarded first. The incumbent's checkpoint is always kept.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence

from probe.search.records.search import BudgetLimits
from probe.search.schedulers.fidelity import WHOLE, in_epochs
from probe.search.schedulers.protocol import Scheduler
from probe.search.study.budget import NewTrial, Usage, next_step, outlook
from probe.search.study.plan import StudyPlan
from probe.search.study.state import SearchState
from probe.search.study.trial import Trial

MAX_SIMULATED = 200
"""Trials that `peak_checkpoints` simulates. The checkpoints of a longer search are extrapolated in proportion."""


class CheckpointKeeper:
    """Calls `discard(trial, epochs)` for every checkpoint that no job will load any more."""

    def __init__(self, plan: StudyPlan, state: SearchState, discard: Callable[[Trial, int], object]) -> None:
        self._plan = plan
        self._state = state
        self._discard = discard
        self._gone: set[tuple[int, int]] = set()
        """(trial, rung) of the discarded checkpoints."""

    def trial_ended(
        self, trial: Trial, usage: Usage, *, pace: float | None, num_slots: int, max_new: float, held: Trial | None
    ) -> None:
        """Discard checkpoints after a job of `trial` ended. `usage` leaves out the costs of running jobs, `max_new` is
        the number of trials that the space still has, and `held` the trial that starts next, if it has to wait."""
        if not self._state.fidelity.continues_from_checkpoint:
            return
        if not trial.retry:
            # The checkpoint that the finished rung started from; of a dead trial also the one it would have continued from.
            for rung in range(max(0, trial.rung - 1), trial.rung + (trial.status is not None)):
                self._let_go(trial, rung)
        kept = {self._state.best.number if self._state.best else None, held.number if held else None}
        scheduler, limits = self._state.scheduler, self._plan.limits
        rest = outlook(
            scheduler,
            limits,
            usage,
            pace=pace,
            num_slots=num_slots,
            max_new=max_new,
            prices=self._prices(),
            on_the_way=_target_rungs(self._state, held),
        )
        for number, rung in scheduler.out_of_reach(rest):
            if number not in kept:
                self._let_go(self._state.trials[number], rung)

    def _let_go(self, trial: Trial, rung: int) -> None:
        if (trial.number, rung) not in self._gone:
            self._gone.add((trial.number, rung))
            self._discard(trial, self._state.scheduler.rungs[rung])

    def _prices(self) -> Sequence[float]:
        """Least cost of training to each rung: one epoch if patience may end it anywhere."""
        fidelity = self._state.fidelity
        if self._plan.patience is None:
            return self._state.scheduler.costs
        return [fidelity.epoch_cost(rung) / WHOLE for rung in range(len(fidelity.rungs))]


def epochs_of_ended_jobs(state: SearchState) -> float:
    """Return the epochs spent by jobs that have ended. Those of running jobs are refunded if the search is resumed."""
    running = sum(trial.spent - trial.spent_at_start for trial in state.running.values())
    return state.spent_epochs - in_epochs(running)


def expendable(state: SearchState) -> list[tuple[Trial, int]]:
    """Return (trial, epochs) of the checkpoints that may be deleted if the disk is full, in the order of deletion: the
    lowest rung first, which loses the least training; on each rung the worst trial."""
    best = None if state.best is None else state.best.number
    rungs = state.scheduler.rungs
    return [(state.trials[number], rungs[rung]) for number, rung in state.scheduler.paused() if number != best]


def _target_rungs(state: SearchState, held: Trial | None) -> Mapping[int, int]:
    """Trial -> the rung that it trains to, or waits to train to, without those still to be promoted."""
    targets = {number: trial.target_rung or 0 for number, trial in state.running.items()}
    targets |= {number: trial.rung + 1 for number, trial in state.to_retry.items()}
    return targets | ({held.number: 0} if held is not None and held.rung < 0 else {})


def peak_checkpoints(make_scheduler: Callable[[], Scheduler], limits: BudgetLimits) -> int | None:
    """Estimate the largest number of checkpoints that a search with one worker keeps at a time; None if only time
    limits it.

    The search is simulated with made-up scores and the same decisions about trials, promotions and checkpoints: the
    largest count over trials in random order, the best first, and the best last. Trials that die leave fewer. Each
    further worker adds the checkpoint it continues from and the one it writes, and with `halving` those of the cohorts
    it starts instead of waiting.
    """
    scheduler = make_scheduler()
    cost = scheduler.costs[0]
    num_trials = min(
        math.inf if limits.trials is None else limits.trials,
        math.inf if limits.epochs is None else limits.epochs / cost,
    )
    if math.isinf(num_trials):
        return None
    shrink = min(1.0, MAX_SIMULATED / max(1.0, num_trials))
    simulated = BudgetLimits(
        trials=None if limits.trials is None else math.ceil(limits.trials * shrink),
        epochs=None if limits.epochs is None else limits.epochs * shrink,
    )
    draws = [random.Random(seed).random for seed in range(2)]
    orders: list[Callable[[int], float]] = [lambda n: n, lambda n: -n, *(lambda n, draw=draw: draw() for draw in draws)]
    return math.ceil(max(_simulate(make_scheduler(), simulated, order) for order in orders) / shrink)


def _simulate(scheduler: Scheduler, limits: BudgetLimits, score: Callable[[int], float]) -> int:
    """The largest number of checkpoints at a time if trial n scores `score(n)` on each rung."""
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
        spent += scheduler.costs[rung]
        scheduler.record(number, rung, score(number))
        if rung < scheduler.top:
            kept.add((number, rung))
        peak = max(peak, len(kept))
        kept.discard((number, rung - 1))
        usage = Usage(trials=num_trials, spent_epochs=spent)
        kept -= set(scheduler.out_of_reach(outlook(scheduler, limits, usage, prices=scheduler.costs, on_the_way={})))
