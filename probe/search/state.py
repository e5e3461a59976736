"""Everything that a search knows, and the only four ways in which it changes.

An event is handed to the sink before it is applied; applying the same events to a fresh state gives the same state, so a
file of events is a search.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from probe.records import MemoryReading
from probe.search.jobs import Outcome
from probe.search.ladder import Ladder, Promotion
from probe.search.objective import Objective, reduced_value
from probe.search.records import BestTrial, ParamValue, Status
from probe.training.records import EpochReport

MAX_RETRIES = 3
"""Of a rung whose worker died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The sampler decided on a configuration. `positions` are its own coordinates, exact to the bit."""

    number: int
    positions: Mapping[str, ParamValue]
    params: Mapping[str, ParamValue]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A trial goes to the end of `rung`, for the first time or once more."""

    number: int
    rung: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    number: int
    report: EpochReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The rung that a trial was on is over."""

    number: int
    outcome: Outcome
    seconds: float
    memory: MemoryReading | None = None
    message: str | None = None


Event = Asked | Started | Reported | Ended


@dataclass(slots=True, kw_only=True)
class Trial:
    number: int
    positions: Mapping[str, ParamValue]
    params: Mapping[str, ParamValue]
    seed: int
    reports: list[EpochReport] = field(default_factory=list)
    rung: int = -1
    """The last rung it finished."""
    climbing_to: int | None = None
    """The rung it is running to."""
    retry: bool = False
    """Its last job crashed and waits to be run again."""
    num_crashes: int = 0
    status: Status | None = None
    """How it died; None while it lives."""
    epochs: int = 0
    """Spent, lost ones included."""
    seconds: float = 0.0
    memory: MemoryReading | None = None
    message: str | None = None


class SearchState:
    """All trials and the ladder, by events."""

    def __init__(self, *, ladder: Ladder, objective: Objective) -> None:
        self.ladder = ladder
        self.objective = objective
        self.trials: list[Trial] = []
        self.running: dict[int, Trial] = {}
        self.spent_epochs = 0
        self.promised_epochs = 0
        self.epoch_seconds = 0.0
        """Sum over all reported epochs."""
        self.num_reported = 0
        self.num_failed_in_a_row = 0
        self.to_retry: dict[int, Trial] = {}
        self.best: BestTrial | None = None
        """Over the rungs that were finished; for showing, as a trial that was ahead may die later."""

    @property
    def typical_epoch_seconds(self) -> float | None:
        """Mean seconds of an epoch over all trials so far."""
        return self.epoch_seconds / self.num_reported if self.num_reported else None

    def score(self, trial: Trial, rung: int) -> float | None:
        """What a trial was ranked by at the end of `rung`."""
        return reduced_value(self.objective, trial.reports[: self.ladder.rungs[rung]])

    def epochs_at(self, trial: Trial, rung: int) -> int:
        """Epochs that a trial has at the end of `rung`: the ladder's, or its own where `epochs` is a hyperparameter."""
        own = trial.params.get("epochs")
        return self.ladder.rungs[rung] if own is None else min(self.ladder.rungs[rung], int(own))

    def apply(self, event: Event) -> None:
        if isinstance(event, Asked):
            self._ask(event)
        elif isinstance(event, Started):
            self._start(self.trials[event.number], event.rung)
        elif isinstance(event, Reported):
            self._report(self.trials[event.number], event.report)
        else:
            self._end(self.trials[event.number], event)

    def _ask(self, event: Asked) -> None:
        if event.number != len(self.trials):
            raise ValueError(f"trial {event.number} was asked for after {len(self.trials)} trials")
        self.trials.append(Trial(number=event.number, positions=event.positions, params=event.params, seed=event.seed))

    def _start(self, trial: Trial, rung: int) -> None:
        if trial.status is not None or trial.climbing_to is not None or rung != trial.rung + 1:
            raise ValueError(f"trial {trial.number} cannot start rung {rung}")
        if not trial.retry:
            if rung > 0:
                self.ladder.promote(Promotion(number=trial.number, rung=rung))
            else:
                self.ladder.enter(trial.number)
        trial.retry = False
        self.to_retry.pop(trial.number, None)
        trial.climbing_to = rung
        self.running[trial.number] = trial
        self.promised_epochs += self.epochs_at(trial, rung) - self._epochs_before(rung)

    def _report(self, trial: Trial, report: EpochReport) -> None:
        trial.reports.append(report)
        trial.epochs += 1
        self.spent_epochs += 1
        self.promised_epochs -= 1
        self.epoch_seconds += report.seconds
        self.num_reported += 1

    def _end(self, trial: Trial, event: Ended) -> None:
        rung = self._leave(trial)
        trial.seconds += event.seconds
        trial.memory = _larger(trial.memory, event.memory)
        trial.message = event.message
        if event.outcome == "finished":
            self._finish(trial, rung)
        elif event.outcome in ("oom", "diverged"):
            self.ladder.lose(trial.number, rung)
            trial.status = "oom" if event.outcome == "oom" else "diverged"
        elif event.outcome == "failed":
            self.ladder.drop(trial.number, rung)
            trial.status = "failed"
        elif event.outcome == "crashed":
            del trial.reports[self._epochs_before(rung) :]
            trial.num_crashes += 1
            trial.retry = trial.num_crashes <= MAX_RETRIES
            if trial.retry:
                self.to_retry[trial.number] = trial
            else:
                self.ladder.drop(trial.number, rung)
                trial.status = "crashed"
        if event.outcome in ("diverged", "crashed"):  # the epoch it was in is spent too
            trial.epochs += 1
            self.spent_epochs += 1
        if event.outcome not in ("crashed", "cancelled"):
            self.num_failed_in_a_row = self.num_failed_in_a_row + 1 if event.outcome == "failed" else 0

    def _leave(self, trial: Trial) -> int:
        rung = trial.climbing_to
        if rung is None:
            raise ValueError(f"trial {trial.number} is not running")
        self.promised_epochs -= self.epochs_at(trial, rung) - len(trial.reports)
        trial.climbing_to = None
        del self.running[trial.number]
        return rung

    def _finish(self, trial: Trial, rung: int) -> None:
        if len(trial.reports) != self.epochs_at(trial, rung):
            raise ValueError(f"trial {trial.number} finished rung {rung} after {len(trial.reports)} epochs")
        trial.rung = rung
        score = reduced_value(self.objective, trial.reports)
        if score is None:
            trial.status = "diverged"
            self.ladder.lose(trial.number, rung)
        else:
            self.ladder.record(trial.number, rung, score)
            if self.best is None or self.objective.better(score, self.best.value):
                self.best = BestTrial(number=trial.number, params=trial.params, value=score)

    def _epochs_before(self, rung: int) -> int:
        return self.ladder.rungs[rung - 1] if rung else 0


def _larger(before: MemoryReading | None, after: MemoryReading | None) -> MemoryReading | None:
    if before is None or after is None:
        return before or after
    return max(before, after, key=lambda reading: reading.peak_reserved_bytes if reading else -math.inf)
