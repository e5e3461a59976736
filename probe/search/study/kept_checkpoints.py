"""Which checkpoints of a search are kept: decisions only, files are the business of whoever asks.

A trial whose checkpoint is gone is not lost: it is trained again from its seed, which costs its epochs' time. So a checkpoint
goes as soon as no promotion can reach its trial within the budget, and where the disk runs short, those of the worst paused
trials go first. The incumbent's is always kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from probe.search.schedulers.fidelity import WHOLE, in_epochs
from probe.search.study.budget import Pace, Usage, outlook
from probe.search.study.plan import StudyPlan
from probe.search.study.state import SearchState, Trial


class CheckpointKeeper:
    """Tells `discard(trial, epochs)` of every checkpoint that nobody will go on from."""

    def __init__(self, plan: StudyPlan, state: SearchState, discard: Callable[[Trial, int], object]) -> None:
        self._plan = plan
        self._state = state
        self._discard = discard
        self._gone: set[tuple[int, int]] = set()
        """(trial, rung)"""

    def trial_ended(
        self, trial: Trial, usage: Usage, *, pace: Pace, num_slots: int, max_new: float, held: Trial | None
    ) -> None:
        """After a job of `trial`. `max_new`: trials that the space still has. `held`: decided on, and not started yet."""
        if not self._state.fidelity.goes_on:
            return
        if not trial.retry:
            # The one that the finished rung started from; of a dead trial also the one that it would have gone on from.
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
            on_the_way=_on_the_way(self._state, held),
        )
        for number, rung in scheduler.out_of_reach(rest):
            if number not in kept:
                self._let_go(self._state.trials[number], rung)

    def _let_go(self, trial: Trial, rung: int) -> None:
        if (trial.number, rung) not in self._gone:
            self._gone.add((trial.number, rung))
            self._discard(trial, self._state.scheduler.rungs[rung])

    def _prices(self) -> Sequence[float]:
        """What the way to each rung costs at least; with patience, which may end it anywhere, one epoch."""
        fidelity = self._state.fidelity
        if self._plan.patience is None:
            return self._state.scheduler.costs
        return [fidelity.epoch_cost(rung) / WHOLE for rung in range(len(fidelity.rungs))]


def settled_epochs(state: SearchState) -> float:
    """Spent by jobs that have ended. What a running job has spent comes back where the search is stopped and goes on."""
    running = sum(trial.spent - trial.spent_at_start for trial in state.running.values())
    return state.spent_epochs - in_epochs(running)


def expendable(state: SearchState) -> list[tuple[Trial, int]]:
    """(trial, epochs) of the checkpoints that may go where the disk is short: of the lowest rung first, as little training
    is lost with it, there of the worst trial first."""
    best = None if state.best is None else state.best.number
    rungs = state.scheduler.rungs
    return [(state.trials[number], rungs[rung]) for number, rung in state.scheduler.paused() if number != best]


def _on_the_way(state: SearchState, held: Trial | None) -> Mapping[int, int]:
    """Trial -> the rung that it is running to, or waits to run to; those that are still to be promoted left out."""
    aims = {number: trial.climbing_to or 0 for number, trial in state.running.items()}
    aims |= {number: trial.rung + 1 for number, trial in state.to_retry.items()}
    return aims | ({held.number: 0} if held is not None and held.rung < 0 else {})
