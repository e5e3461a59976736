"""Everything that a search knows, and the only five ways in which it changes.

An event is handed to the sink before it is applied; applying the same events to a fresh state gives the same state, so a
file of events is a search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from probe.records import MemoryReading, larger_peak
from probe.search.jobs.outcomes import least_cost, lost_cost
from probe.search.records.objective import Objective, reduced_value
from probe.search.records.search import BestTrial, ParamValue, Refinement, Status
from probe.search.schedulers.fidelity import WHOLE, FidelitySchedule, in_epochs
from probe.search.schedulers.successive_halving import Promotion, Scheduler
from probe.search.study.events import EpochReported, Event, SearchResumed, TrialEnded, TrialStarted, TrialSuggested
from probe.search.study.utilization import Utilization
from probe.training.records import EpochReport, TrainingSummary

MAX_RETRIES = 3
"""Of a trial whose workers die."""
Dead = Literal["oom", "diverged", "infeasible", "timeout", "failed"]


@dataclass(slots=True, kw_only=True)
class Trial:
    number: int
    positions: Mapping[str, ParamValue]
    params: Mapping[str, ParamValue]
    seed: int
    reports: list[EpochReport] = field(default_factory=list)
    before: list[EpochReport] = field(default_factory=list)
    """Reports of the rung below, where a rung does not go on from it; they count until the next rung is finished."""
    scores: list[float | None] = field(default_factory=list)
    """What it was ranked by at the end of each rung; None: its objective had no value yet."""
    rung: int = -1
    """The last rung it finished."""
    climbing_to: int | None = None
    """The rung it is running to."""
    promised: int = 0
    """Thousandths of an epoch that its job may still cost."""
    retry: bool = False
    """Its last job crashed, or ran out of memory, and waits to be run again."""
    num_crashes: int = 0
    failed_rung: int | None = None
    """The rung in which the task's code failed, and which is then run again, once, in a fresh process."""
    gradient_accumulation: int | None = None
    """Parts that its batch is split into because whole it did not fit."""
    status: Status | None = None
    """How it ended; None while it lives."""
    spent: int = 0
    """Thousandths of an epoch, lost ones included."""
    lost: int = 0
    """Those of them that left no report."""
    spent_at_start: int = 0
    lost_at_start: int = 0
    """What both were when its last rung was started."""
    seconds: float = 0.0
    memory: MemoryReading | None = None
    message: str | None = None
    refinement: Refinement | None = None
    fit: TrainingSummary | None = None
    """At the end of the last rung that it finished."""

    @property
    def counted(self) -> list[EpochReport]:
        """Reports that its value is of."""
        return self.before or self.reports


class SearchState:
    """All trials and the ladder, by events."""

    def __init__(self, *, scheduler: Scheduler, objective: Objective, fidelity: FidelitySchedule | None = None) -> None:
        self.scheduler = scheduler
        self.fidelity = fidelity or FidelitySchedule(rungs=scheduler.rungs)
        self.objective = objective
        self.trials: list[Trial] = []
        self.running: dict[int, Trial] = {}
        self.epoch_seconds = 0.0
        """Sum over all reported epochs."""
        self.num_failed_in_a_row = 0
        self.to_retry: dict[int, Trial] = {}
        """Those whose next rung runs before anything else is decided."""
        self.cancelled: dict[int, Trial] = {}
        """Those whose rung was not over when the search ended."""
        self.best: BestTrial | None = None
        """Over the rungs that were finished; for showing, as a trial that was ahead may die later."""
        self.occupancy = Utilization()
        """Of the slots; for showing, as nothing is decided by it."""
        self._spent = self._reported = self._promised = self._lost = 0
        """Thousandths of an epoch."""

    @property
    def spent_epochs(self) -> int | float:
        return in_epochs(self._spent)

    @property
    def lost_epochs(self) -> int | float:
        """Trained and lost when the search was killed or stopped; no part of `spent_epochs`."""
        return in_epochs(self._lost)

    @property
    def promised_epochs(self) -> int | float:
        return in_epochs(self._promised)

    @property
    def has_trained(self) -> bool:
        """Whether any trial has come to the end of an epoch: the task's code works with some configuration."""
        return self._reported > 0

    @property
    def typical_epoch_seconds(self) -> float | None:
        """Mean seconds of an epoch of the budget over all trials so far."""
        return self.epoch_seconds * WHOLE / self._reported if self._reported else None

    def score(self, trial: Trial, rung: int) -> float | None:
        """What a trial was ranked by at the end of `rung`; None where it did not reach that, or had no value there."""
        return trial.scores[rung] if rung < len(trial.scores) else None

    def epochs_at(self, trial: Trial, rung: int) -> int:
        """Epochs that a trial has at the end of `rung`: the course's, or its own where `epochs` is a hyperparameter."""
        own = trial.params.get("epochs")
        return self.fidelity.epochs_after(rung) if own is None else int(own)

    def apply(self, event: Event, seconds: float | None = None) -> None:
        """`seconds`: since the search began; None: as an earlier session saw it."""
        if isinstance(event, TrialSuggested):
            self._ask(event)
        elif isinstance(event, TrialStarted):
            self._start(self.trials[event.number], event.rung)
        elif isinstance(event, EpochReported):
            self._report(self.trials[event.number], event.report)
        elif isinstance(event, SearchResumed):
            self._resume(event)
        else:
            self._end(self.trials[event.number], event)
        self.occupancy.apply(event, seconds)

    def _ask(self, event: TrialSuggested) -> None:
        if event.number != len(self.trials):
            raise ValueError(f"trial {event.number} was asked for after {len(self.trials)} trials")
        trial = Trial(number=event.number, positions=event.positions, params=event.params, seed=event.seed)
        if event.refinement is not None:
            trial.refinement = event.refinement
            trial.spent = round(event.refinement.epochs * WHOLE)
            self._spent += trial.spent
        self.trials.append(trial)

    def _start(self, trial: Trial, rung: int) -> None:
        if trial.status is not None or trial.climbing_to is not None or rung != trial.rung + 1:
            raise ValueError(f"trial {trial.number} cannot start rung {rung}")
        if not trial.retry:
            if rung > 0:
                self.scheduler.promote(Promotion(number=trial.number, rung=rung))
            else:
                self.scheduler.enter(trial.number)
        if not self.fidelity.goes_on and trial.reports:
            trial.before, trial.reports = trial.reports, []
        trial.retry = False
        self.to_retry.pop(trial.number, None)
        trial.spent_at_start, trial.lost_at_start = trial.spent, trial.lost
        trial.climbing_to = rung
        self.running[trial.number] = trial
        trial.promised = (self.epochs_at(trial, rung) - self.fidelity.epochs_before(rung)) * self.fidelity.epoch_cost(
            rung
        )
        self._promised += trial.promised

    def _report(self, trial: Trial, report: EpochReport) -> None:
        if trial.climbing_to is None:
            raise ValueError(f"trial {trial.number} is not running")
        trial.reports.append(report)
        cost = self.fidelity.epoch_cost(trial.climbing_to)
        self._spend(trial, cost)
        self._reported += cost
        self.epoch_seconds += report.seconds

    def _end(self, trial: Trial, event: TrialEnded) -> None:
        rung = trial.climbing_to
        if rung is None:
            raise ValueError(f"trial {trial.number} is not running")
        is_first_failure = event.outcome == "failed" and trial.failed_rung is None
        self._pay_for_lost_passes(trial, rung, event, runs_again=is_first_failure)
        self._leave(trial)
        trial.seconds += event.seconds
        trial.memory = larger_peak(trial.memory, event.memory)
        trial.message = event.message
        if event.outcome == "finished":
            self._finish(trial, rung, event.fit, settled=False)
        elif event.outcome == "early_stopped":
            self._finish(trial, rung, event.fit, settled=True)
        elif event.outcome == "crashed":
            trial.num_crashes += 1
            self._run_again(trial, rung, trial.num_crashes <= MAX_RETRIES)
            if not trial.retry:
                self.scheduler.drop(trial.number, rung)
                trial.status = "crashed"
        elif is_first_failure:
            trial.failed_rung = rung
            self._run_again(trial, rung, True)
        elif event.outcome == "oom" and event.gradient_accumulation is not None:
            trial.gradient_accumulation = event.gradient_accumulation
            self._run_again(trial, rung, True)
        elif event.outcome == "cancelled":
            self.cancelled[trial.number] = trial
        else:
            self._die(trial, rung, event.outcome)
        if trial.before and trial.rung < rung:  # what it reported on more data is no whole training
            trial.lost += len(trial.reports) * self.fidelity.epoch_cost(rung)
            trial.reports, trial.before = trial.before, []
        if event.outcome not in ("crashed", "cancelled", "failed"):
            self.num_failed_in_a_row = 0
        elif trial.status == "failed":
            self.num_failed_in_a_row += 1

    def _die(self, trial: Trial, rung: int, status: Dead) -> None:
        trial.status = status
        if status == "failed":
            self.scheduler.drop(trial.number, rung)
        else:
            self.scheduler.lose(trial.number, rung)

    def _resume(self, event: SearchResumed) -> None:
        if event.after == "failures":  # the user has seen the traceback and tries again
            self.num_failed_in_a_row = 0
        for trial in [*self.cancelled.values(), *self.running.values()]:
            self._roll_back(trial)
            trial.retry = True
            self.to_retry[trial.number] = trial
        self.cancelled.clear()
        for trial in self.trials:  # the search ended between the decision and the start
            if trial.rung < 0 and trial.status is None and not trial.retry:
                self.to_retry[trial.number] = trial

    def _roll_back(self, trial: Trial) -> None:
        """To the start of the rung that was not over, as if it had never been started."""
        if trial.climbing_to is not None:
            self._leave(trial)
        if trial.before:
            trial.reports, trial.before = trial.before, []
        elif self.fidelity.goes_on or trial.rung < 0:
            del trial.reports[self.fidelity.epochs_before(trial.rung + 1) :]
        wasted = trial.spent - trial.spent_at_start
        self._spent -= wasted
        self._lost += wasted
        trial.spent, trial.lost = trial.spent_at_start, trial.lost_at_start

    def _run_again(self, trial: Trial, rung: int, can: bool) -> None:
        """Back to the begin of the rung; what it reported since is lost."""
        kept = self.fidelity.epochs_before(rung)
        trial.lost += (len(trial.reports) - kept) * self.fidelity.epoch_cost(rung)
        del trial.reports[kept:]
        trial.retry = can
        if can:
            self.to_retry[trial.number] = trial

    def _spend(self, trial: Trial, cost: int) -> None:
        """Never more than was promised: budgets hold whatever a worker says."""
        cost = min(cost, trial.promised)
        trial.spent += cost
        trial.promised -= cost
        self._spent += cost
        self._promised -= cost

    def _pay_for_lost_passes(self, trial: Trial, rung: int, event: TrialEnded, *, runs_again: bool) -> None:
        before, num_reports = trial.spent, len(trial.reports) - self.fidelity.epochs_before(rung)
        if not runs_again:  # else its passes are paid for when it has run again
            cost = lost_cost(event.outcome, event.num_passes, num_reports, fidelity=self.fidelity, rung=rung)
            self._spend(trial, cost)
        if event.outcome not in ("finished", "early_stopped", "cancelled") and event.gradient_accumulation is None:
            self._spend(trial, max(0, least_cost(self.fidelity, rung) - trial.spent))
        trial.lost += trial.spent - before

    def _leave(self, trial: Trial) -> None:
        self._promised -= trial.promised
        trial.promised = 0
        trial.climbing_to = None
        del self.running[trial.number]

    def _finish(self, trial: Trial, rung: int, fit: TrainingSummary | None, *, settled: bool) -> None:
        wanted = self.epochs_at(trial, rung)
        if len(trial.reports) > wanted or (len(trial.reports) < wanted and not settled):
            raise ValueError(f"trial {trial.number} finished rung {rung} after {len(trial.reports)} epochs")
        trial.rung = rung
        trial.before = []
        trial.fit = fit
        score = reduced_value(self.objective, trial.reports)
        trial.scores.append(score)
        if settled:
            trial.status = "complete"
            self.scheduler.complete(trial.number, rung)
        else:
            self.scheduler.record(trial.number, rung, score)
        if score is not None and (self.best is None or self.objective.better(score, self.best.value)):
            self.best = BestTrial(number=trial.number, params=trial.params, value=score)
