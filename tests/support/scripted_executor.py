"""An executor that trains nothing: values, durations and faults come from functions, time from a simulated clock."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from probe.device.select import DeviceSpec
from probe.loading.records import ValidationSplit
from probe.search.executors.slots import spread_slots
from probe.search.jobs.jobs import JobEnd, JobEpoch, JobEvent, Outcome, RungJob, RungReport
from probe.search.jobs.stopping import next_gradient_accumulation
from probe.search.records.search import ParamValue
from probe.search.study.trial import Trial
from probe.tasks.source import TargetSource
from probe.training.records import EpochReport

Params = dict[str, ParamValue]


@dataclass
class SimulatedClock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def steady_accuracy(params: Params, epoch: int) -> float:
    """Grows with the epoch towards `quality`."""
    return float(params.get("quality", 0.5)) * (1 - 0.5**epoch)


def no_fault(job: RungJob, epoch: int, num_submitted: int) -> Outcome | None:
    """`num_submitted` counts this trial's jobs, the present one included."""
    return None


@dataclass
class ScriptedExecutor:
    num_slots: int = 1
    max_parts: int = 1
    """A batch that ran out of memory can be split so far."""
    accuracy: Callable[[Params, int], float] = steady_accuracy
    epoch_seconds: Callable[[RungJob], float] = lambda job: 1.0
    fault: Callable[[RungJob, int, int], Outcome | None] = no_fault
    is_crowded: Callable[[RungJob], bool] = lambda job: False
    """Whether a job that runs out of memory shared its GPU."""
    stops_after: Callable[[RungJob, int], bool] = lambda job, epoch: False
    """The epoch after which a job's patience is over."""
    num_passes: int | None = None
    """That a job which ends by a fault says it began; None: it does not say."""
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    interrupt_at: float | None = None
    jobs: list[RungJob] = field(default_factory=list)
    """Everything that was submitted."""
    closed: bool = False
    num_gpus: int = 1
    """That the slots are spread over."""

    def __post_init__(self) -> None:
        self._timeline: list[tuple[float, int, JobEvent]] = []
        self._running: dict[int, RungJob] = {}
        self._gpus: dict[int, int] = {}
        """Trial -> where it runs."""

    def submit(self, job: RungJob) -> None:
        taken = Counter(self._gpus[number] for number in self._running)
        has_free = [taken[gpu] < slots for gpu, slots in enumerate(self.slots_by_gpu)]
        if not any(has_free) or (job.gpu is not None and not has_free[job.gpu]):
            raise RuntimeError("all slots are taken")
        self._gpus[job.number] = has_free.index(True) if job.gpu is None else job.gpu
        self.jobs.append(job)
        self._running[job.number] = job
        num_submitted = sum(other.number == job.number for other in self.jobs)
        now = self.clock.now
        for epoch in range(job.epochs_from + 1, job.epochs_to + 1):
            outcome = self.fault(job, epoch, num_submitted)
            if outcome is not None:
                message = "Traceback: ZeroDivisionError" if outcome == "failed" else outcome
                self._add(now, JobEnd(number=job.number, report=self._report(outcome, now, message, job)))
                return
            now += self.epoch_seconds(job)
            value = self.accuracy(dict(job.params), epoch)
            report = _report_of(epoch, value)
            self._add(now, JobEpoch(number=job.number, report=report))
            if self.stops_after(job, epoch):
                self._add(now, JobEnd(number=job.number, report=self._report("early_stopped", now, "nothing better")))
                return
        self._add(now, JobEnd(number=job.number, report=self._report("finished", now, None)))

    def poll(self, timeout_seconds: float) -> list[JobEvent]:
        deadline = self.clock.now + timeout_seconds
        at = self._timeline[0][0] if self._timeline else deadline
        if self.interrupt_at is not None and min(at, deadline) >= self.interrupt_at:
            raise KeyboardInterrupt
        self.clock.now = max(self.clock.now, min(at, deadline))
        due = [event for when, _, event in self._timeline if when <= self.clock.now]
        self._timeline = self._timeline[len(due) :]
        for event in due:
            if isinstance(event, JobEnd):
                del self._running[event.number]
        return due

    @property
    def slots_by_gpu(self) -> list[int]:
        return list(Counter(spread_slots(self.num_slots, self.num_gpus)).values())

    def places(self) -> dict[int, str]:
        return {number: f"cuda:{self._gpus[number]}" for number in self._running} if self.num_gpus > 1 else {}

    def cancel(self) -> None:
        self._timeline = [item for item in self._timeline if item[2].number not in self._running]
        self._running.clear()

    def close(self) -> None:
        self.closed = True

    def _add(self, at: float, event: JobEvent) -> None:
        self._timeline.append((at, len(self.jobs), event))
        self._timeline.sort(key=lambda item: item[:2])

    def _report(self, outcome: Outcome, ended: float, message: str | None, job: RungJob | None = None) -> RungReport:
        parts = (
            None
            if job is None or outcome != "oom"
            else next_gradient_accumulation(self.max_parts, job.gradient_accumulation or 1)
        )
        return RungReport(
            outcome=outcome,
            seconds=ended - self.clock.now,
            message=message,
            next_gradient_accumulation=parts,
            num_passes=None if job is None else self.num_passes,
            is_crowded=outcome == "oom" and job is not None and self.is_crowded(job),
        )


def _report_of(epoch: int, value: float) -> EpochReport:
    """NaN: the loss is sound, the accuracy undefined."""
    if math.isnan(value):
        return EpochReport(epoch=epoch, train_loss=0.5, val_loss=0.5, metrics={}, seconds=1.0, undefined=("accuracy",))
    return EpochReport(epoch=epoch, train_loss=1 - value, val_loss=1 - value, metrics={"accuracy": value}, seconds=1.0)


def make_job(trial: Trial, epochs_from: int, epochs_to: int) -> RungJob:
    """A job for a scripted executor: its source is never built."""
    return RungJob(
        number=trial.number,
        source=TargetSource(target="nobody:builds_this"),
        params=trial.params,
        seed=trial.seed,
        split=ValidationSplit(fraction=0.2, seed=0),
        device=DeviceSpec(kind="cpu"),
        planned_epochs=27,
        epochs_from=epochs_from,
        epochs_to=epochs_to,
        checkpoint_in=None,
        checkpoint_out=None,
        gradient_accumulation=trial.gradient_accumulation,
        needs_fresh_process=trial.rung + 1 in (trial.failed_rung, trial.killed_rung, trial.crowded_rung),
    )
