"""Searches on disk for the tests: scripted jobs, a real file, and a process that can be killed in the middle of it.

python stored_searches.py FOLDER    # begins the search there or goes on with it; exits with 0 when it is over
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from probe.errors import OutputError
from probe.files import temporary_path
from probe.search.jobs.checkpoint_files import checkpoint_path
from probe.search.jobs.jobs import JobEnd, JobEpoch, JobEvent, RungJob, RungReport
from probe.search.records.objective import Objective
from probe.search.records.search import DATABASE_FILE, BudgetLimits, Dimension
from probe.search.resume import needed_checkpoints
from probe.search.samplers.registry import make_sampler
from probe.search.space.space import Space
from probe.search.storage.database import SearchDatabase
from probe.search.storage.folder import CheckpointFolder, run_lock
from probe.search.study.events import Event, SearchResumed, TrialEnded, TrialStarted, TrialSuggested
from probe.search.study.plan import StudyHooks, StudyPlan, new_state
from probe.search.study.study import Study
from probe.search.study.trial import Trial
from probe.training.records import EpochReport

PLAN = StudyPlan(
    space=Space(
        dimensions=(
            Dimension(name="quality", kind="float", low=0.0, high=1.0),
            Dimension(name="width", kind="choices", choices=(4, 8, 16)),
        ),
        constants={},
    ),
    objective=Objective(metric="accuracy", mode="max"),
    rungs=(1, 3, 9),
    factor=3,
    limits=BudgetLimits(trials=30, epochs=110.0),
    seed=7,
)


class CheckpointedJobs:
    """An executor with one slot whose jobs pass their epochs on, one a poll, and write and read checkpoints of a few bytes.

    A job that finds its checkpoint torn, gone or another's raises AssertionError.
    """

    num_slots = 1

    def __init__(self, *, epoch_seconds: float, checkpoint_bytes: int) -> None:
        self._job: RungJob | None = None
        self._epoch = 0
        self._seconds = epoch_seconds
        self._bytes = checkpoint_bytes

    def submit(self, job: RungJob) -> None:
        if self._job is not None:
            raise RuntimeError("the slot is taken")
        self._job, self._epoch = job, job.epochs_from
        if job.checkpoint_in is not None and job.checkpoint_in.read_text() != self._content(job, job.epochs_from):
            raise AssertionError(f"{job.checkpoint_in} is torn, or another's")

    def poll(self, timeout_seconds: float) -> list[JobEvent]:
        job = self._job
        if job is None:
            return []
        time.sleep(self._seconds)
        if self._epoch < job.epochs_to:
            self._epoch += 1
            return [JobEpoch(number=job.number, report=_report(job, self._epoch))]
        if job.checkpoint_out is not None:
            temporary = temporary_path(job.checkpoint_out)
            temporary.write_text(self._content(job, job.epochs_to))
            temporary.replace(job.checkpoint_out)
        self._job = None
        return [JobEnd(number=job.number, report=RungReport(outcome="finished", seconds=0.0))]

    def places(self) -> dict[int, str]:
        return {}

    def cancel(self) -> None:
        self._job = None

    def close(self) -> None:
        pass

    def _content(self, job: RungJob, epochs: int) -> str:
        return hashlib.sha256(f"{job.seed} {epochs}".encode()).hexdigest() * (self._bytes // 64)


def work_on(
    folder: Path,
    *,
    plan: StudyPlan = PLAN,
    sampler: str = "tpe",
    epoch_seconds: float = 0.0,
    checkpoint_bytes: int = 64_000,
    acknowledged: Callable[[], object] = lambda: None,
) -> Study:
    """Begin the search in `folder`, or go on with it, until it is over. `acknowledged` is called after every event."""
    from scripted_executor import make_job as make_plain_job

    path = folder / DATABASE_FILE
    with run_lock(folder):
        try:
            database = SearchDatabase.open(path, to_write=True)
        except OutputError:  # killed before it began
            path.unlink(missing_ok=True)
            database = SearchDatabase.create(path, {"name": "stored"})

        def make_job(trial: Trial, epochs_from: int, epochs_to: int) -> RungJob:
            job = make_plain_job(trial, epochs_from, epochs_to)
            return replace(
                job,
                checkpoint_in=checkpoint_path(folder / "checkpoints", trial.number, epochs_from)
                if epochs_from
                else None,
                checkpoint_out=checkpoint_path(folder / "checkpoints", trial.number, epochs_to)
                if epochs_to < plan.rungs[-1]
                else None,
            )

        def sink(event: Event) -> None:
            database.append(event, 0.0)
            acknowledged()

        with database:
            checkpoints = CheckpointFolder(folder / "checkpoints")
            checkpoints.path.mkdir(exist_ok=True)
            study = Study(
                plan,
                new_state(plan),
                sampler=make_sampler(sampler, plan.space, mode="max", seed=plan.seed),
                executor=CheckpointedJobs(epoch_seconds=epoch_seconds, checkpoint_bytes=checkpoint_bytes),
                make_job=make_job,
                hooks=StudyHooks(
                    discard=checkpoints.discard,
                    sink=sink,
                ),
            )
            study.replay(database.events())
            if study.state.trials:
                study.resume(None)
                checkpoints.clear(kept=needed_checkpoints(study.state, checkpoints.path))
            study.run()
    return study


def stored_events(folder: Path) -> list[Event]:
    with SearchDatabase.open(folder / DATABASE_FILE, to_write=False) as database:
        return list(database.events())


def decisions(events: list[Event]) -> list[object]:
    """What was decided and what came of it, without what a kill adds: starts that came to nothing, and losses."""
    found: list[object] = []
    start: TrialStarted | None = None
    for event in events:
        if isinstance(event, TrialSuggested):
            found.append(("asked", event.number, dict(event.params)))
        elif isinstance(event, TrialStarted):
            start = event
        elif isinstance(event, TrialEnded) and event.report.outcome == "finished" and start is not None:
            found.append(("finished", event.number, start.rung))
    return found


def num_repeated_rungs(events: list[Event]) -> list[int]:
    """For each resumption, how many rungs were under way."""
    counts, running = [], set()
    for event in events:
        if isinstance(event, TrialStarted):
            running.add(event.number)
        elif isinstance(event, TrialEnded):
            running.discard(event.number)
        elif isinstance(event, SearchResumed):
            counts.append(len(running))
            running.clear()
    return counts


def _report(job: RungJob, epoch: int) -> EpochReport:
    value = float(job.params["quality"]) * (1 - 0.5**epoch)
    return EpochReport(epoch=epoch, train_loss=1 - value, val_loss=1 - value, metrics={"accuracy": value}, seconds=0.0)
