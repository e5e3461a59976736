"""The state of a search, which changes by five kinds of event only.

An event is stored before it is applied. Applying the same events to a new state gives the same state, so a search is
resumed by applying its stored events.
"""

from __future__ import annotations

from typing import Literal

from probe.search.records.objective import Objective, reduced_value
from probe.search.records.search import BestTrial
from probe.search.schedulers.fidelity import WHOLE, FidelitySchedule, in_epochs, least_cost, lost_cost
from probe.search.schedulers.protocol import Promotion, Scheduler
from probe.search.study.events import EpochReported, Event, SearchResumed, TrialEnded, TrialStarted, TrialSuggested
from probe.search.study.trial import Trial
from probe.search.study.utilization import Utilization
from probe.training.records import EpochReport

MAX_RETRIES = 3
"""How often a trial is retried after its worker died of anything but signal 9."""
Dead = Literal["oom", "host_oom", "diverged", "infeasible", "timeout", "failed"]


class SearchState:
    """All trials and the scheduler of a search. Changed by `apply` only."""

    def __init__(self, *, scheduler: Scheduler, objective: Objective, fidelity: FidelitySchedule | None = None) -> None:
        self.scheduler = scheduler
        self.fidelity = fidelity or FidelitySchedule(rungs=scheduler.rungs)
        self.objective = objective
        self.trials: list[Trial] = []
        self.running: dict[int, Trial] = {}
        self.epoch_seconds = 0.0
        """Sum of the seconds of all reported epochs."""
        self.num_failed_in_a_row = 0
        self.to_retry: dict[int, Trial] = {}
        """Trials whose next rung runs before anything else is decided."""
        self.cancelled: dict[int, Trial] = {}
        """Trials whose job was running when the search ended."""
        self.best: BestTrial | None = None
        """Best score on any completed rung. For display only: the trial may fail later."""
        self.utilization = Utilization()
        """Utilization of the slots. For display only."""
        # Costs in thousandths of an epoch.
        self._spent = self._reported = self._promised = self._lost = 0

    @property
    def spent_epochs(self) -> int | float:
        """Epochs of the budget spent on trials."""
        return in_epochs(self._spent)

    @property
    def lost_epochs(self) -> int | float:
        """Epochs that were lost when the search was killed or stopped; not included in `spent_epochs`."""
        return in_epochs(self._lost)

    @property
    def promised_epochs(self) -> int | float:
        """Epochs that running jobs may still cost."""
        return in_epochs(self._promised)

    @property
    def has_trained(self) -> bool:
        """Whether any trial completed an epoch: the task's code works with some configuration."""
        return self._reported > 0

    @property
    def pace(self) -> float | None:
        """Mean seconds per epoch of the budget over all trials; None before the first epoch."""
        return self.epoch_seconds * WHOLE / self._reported if self._reported else None

    def score(self, trial: Trial, rung: int) -> float | None:
        """Return the trial's score at the end of `rung`; None if it has none."""
        return trial.scores[rung] if rung < len(trial.scores) else None

    def epochs_at(self, trial: Trial, rung: int) -> int:
        """Return the epochs of a trial at the end of `rung`: its own `epochs` if that is a hyperparameter."""
        own = trial.params.get("epochs")
        return self.fidelity.epochs_after(rung) if own is None else int(own)

    def apply(self, event: Event, seconds: float | None = None) -> None:
        """Apply an event. `seconds`: time since the search started; None for an event of an earlier session."""
        if isinstance(event, TrialSuggested):
            self._add(event)
        elif isinstance(event, TrialStarted):
            self._start(self._trial(event.number), event.rung)
        elif isinstance(event, EpochReported):
            self._report(self._trial(event.number), event.report)
        elif isinstance(event, SearchResumed):
            self._resume(event)
        else:
            self._end(self._trial(event.number), event)
        self.utilization.apply(event, seconds)

    def _trial(self, number: int) -> Trial:
        if not 0 <= number < len(self.trials):
            raise ValueError(f"trial {number} was not suggested")
        return self.trials[number]

    def _add(self, event: TrialSuggested) -> None:
        if event.number != len(self.trials):
            raise ValueError(f"trial {event.number} was suggested after {len(self.trials)} trials")
        trial = Trial(number=event.number, positions=event.positions, params=event.params, seed=event.seed)
        if event.refinement is not None:
            trial.refinement = event.refinement
            trial.spent = round(event.refinement.epochs * WHOLE)
            self._spent += trial.spent
        self.trials.append(trial)

    def _start(self, trial: Trial, rung: int) -> None:
        if trial.status is not None or trial.target_rung is not None or rung != trial.rung + 1:
            raise ValueError(f"trial {trial.number} cannot start rung {rung}")
        if not trial.retry:
            if rung > 0:
                self.scheduler.promote(Promotion(number=trial.number, rung=rung))
            else:
                self.scheduler.enter(trial.number)
        if not self.fidelity.continues_from_checkpoint and trial.reports:
            trial.before, trial.reports = trial.reports, []
        trial.retry = False
        self.to_retry.pop(trial.number, None)
        trial.spent_at_start, trial.lost_at_start = trial.spent, trial.lost
        trial.target_rung = rung
        self.running[trial.number] = trial
        num_epochs = self.epochs_at(trial, rung) - self.fidelity.epochs_before(rung)
        trial.promised = num_epochs * self.fidelity.epoch_cost(rung)
        self._promised += trial.promised

    def _report(self, trial: Trial, report: EpochReport) -> None:
        if trial.target_rung is None:
            raise ValueError(f"trial {trial.number} is not running")
        trial.reports.append(report)
        cost = self.fidelity.epoch_cost(trial.target_rung)
        self._spend(trial, cost)
        self._reported += cost
        self.epoch_seconds += report.seconds

    def _end(self, trial: Trial, event: TrialEnded) -> None:
        rung, outcome = trial.target_rung, event.report.outcome
        if rung is None:
            raise ValueError(f"trial {trial.number} is not running")
        is_first_failure = outcome == "failed" and trial.failed_rung is None
        is_crowded_out = trial.was_crowded_out(event.report)
        if not is_crowded_out:
            self._pay_for_lost_passes(trial, rung, event, runs_again=is_first_failure)
        self._leave(trial)
        trial.measured = trial.measured.then(event.report)
        trial.message = event.report.message
        if outcome == "finished" or outcome == "early_stopped":
            self._finish(trial, rung, is_complete=outcome == "early_stopped")
        elif outcome == "crashed":
            trial.num_crashes += 1
            self._run_again(trial, rung, trial.num_crashes <= MAX_RETRIES)
            if not trial.retry:
                self.scheduler.drop(trial.number, rung)
                trial.status = "crashed"
        elif is_first_failure:
            trial.failed_rung = rung
            self._run_again(trial, rung, True)
        elif outcome == "host_oom" and trial.killed_rung != rung:
            trial.killed_rung = rung
            self._run_again(trial, rung, True)
        elif is_crowded_out:
            trial.crowded_rung = rung
            self._run_again(trial, rung, True)
        elif outcome == "oom" and event.gradient_accumulation is not None:
            trial.gradient_accumulation = event.gradient_accumulation
            self._run_again(trial, rung, True)
        elif outcome == "cancelled":
            self.cancelled[trial.number] = trial
        else:
            self._die(trial, rung, outcome)
        if trial.before and trial.rung < rung:  # an unfinished training on more data gives no value
            trial.lost += len(trial.reports) * self.fidelity.epoch_cost(rung)
            trial.reports, trial.before = trial.before, []
        if outcome not in ("crashed", "host_oom", "cancelled", "failed"):
            self.num_failed_in_a_row = 0
        elif trial.status == "failed":
            self.num_failed_in_a_row += 1

    def _die(self, trial: Trial, rung: int, status: Dead) -> None:
        trial.status = status
        if status == "failed":
            self.scheduler.drop(trial.number, rung)
        else:
            self.scheduler.fail(trial.number, rung)

    def _resume(self, event: SearchResumed) -> None:
        if event.after == "failures":  # the user has seen the traceback and tries again
            self.num_failed_in_a_row = 0
        for trial in [*self.cancelled.values(), *self.running.values()]:
            self._roll_back(trial)
            trial.retry = True
            self.to_retry[trial.number] = trial
        self.cancelled.clear()
        for trial in self.trials:  # suggested, but not started before the search ended
            if trial.rung < 0 and trial.status is None and not trial.retry:
                self.to_retry[trial.number] = trial

    def _roll_back(self, trial: Trial) -> None:
        """Return to the start of the unfinished rung, as if it had never been started."""
        if trial.target_rung is not None:
            self._leave(trial)
        if trial.before:
            trial.reports, trial.before = trial.before, []
        elif self.fidelity.continues_from_checkpoint or trial.rung < 0:
            del trial.reports[self.fidelity.epochs_before(trial.rung + 1) :]
        wasted = trial.spent - trial.spent_at_start
        self._spent -= wasted
        self._lost += wasted
        trial.spent, trial.lost = trial.spent_at_start, trial.lost_at_start

    def _run_again(self, trial: Trial, rung: int, can: bool) -> None:
        """Return to the start of the rung; its reports so far are lost."""
        kept = self.fidelity.epochs_before(rung)
        trial.lost += (len(trial.reports) - kept) * self.fidelity.epoch_cost(rung)
        del trial.reports[kept:]
        trial.retry = can
        if can:
            self.to_retry[trial.number] = trial

    def _spend(self, trial: Trial, cost: int) -> None:
        """Spend at most what was promised, so that budgets hold whatever a worker reports."""
        cost = min(cost, trial.promised)
        trial.spent += cost
        trial.promised -= cost
        self._spent += cost
        self._promised -= cost

    def _pay_for_lost_passes(self, trial: Trial, rung: int, event: TrialEnded, *, runs_again: bool) -> None:
        report = event.report
        before, num_reports = trial.spent, len(trial.reports) - self.fidelity.epochs_before(rung)
        if not runs_again:  # otherwise its passes are paid for when it has run again
            cost = lost_cost(report.outcome, report.num_passes, num_reports, fidelity=self.fidelity, rung=rung)
            self._spend(trial, cost)
        if report.outcome not in ("finished", "early_stopped", "cancelled") and event.gradient_accumulation is None:
            self._spend(trial, max(0, least_cost(self.fidelity, rung) - trial.spent))
        trial.lost += trial.spent - before

    def _leave(self, trial: Trial) -> None:
        self._promised -= trial.promised
        trial.promised = 0
        trial.target_rung = None
        del self.running[trial.number]

    def _finish(self, trial: Trial, rung: int, *, is_complete: bool) -> None:
        """The rung was completed. `is_complete`: the trial stopped improving, so it is complete as well."""
        wanted = self.epochs_at(trial, rung)
        if len(trial.reports) > wanted or (len(trial.reports) < wanted and not is_complete):
            raise ValueError(f"trial {trial.number} finished rung {rung} after {len(trial.reports)} epochs")
        trial.rung = rung
        trial.before = []
        score = reduced_value(self.objective, trial.reports)
        trial.scores.append(score)
        if is_complete:
            trial.status = "complete"
            self.scheduler.complete(trial.number, rung)
        else:
            self.scheduler.record(trial.number, rung, score)
        if score is not None and (self.best is None or self.objective.better(score, self.best.value)):
            self.best = BestTrial(number=trial.number, params=trial.params, value=score)
