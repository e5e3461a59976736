"""Overhead of a search's driver: real studies whose rungs train nothing or sleep, on Ray and on local processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from quick_job import quick_rung
from ray_clusters import local_ray

from probe.device.select import DeviceSpec
from probe.loading.records import ValidationSplit
from probe.search.executors import local
from probe.search.executors.local import LocalExecutor
from probe.search.executors.protocol import Executor
from probe.search.jobs.checkpoint_files import checkpoint_path
from probe.search.jobs.jobs import RungJob
from probe.search.records.objective import Objective
from probe.search.records.search import BudgetLimits, Dimension
from probe.search.samplers.registry import make_sampler
from probe.search.space.space import Space
from probe.search.storage.database import SearchDatabase
from probe.search.study.events import Event, TrialEnded
from probe.search.study.plan import StudyHooks, StudyPlan, new_state
from probe.search.study.study import Study
from probe.search.study.trial import Trial
from probe.tasks.source import TargetSource

EXECUTORS = ("Ray, local:2", "local processes")
NUM_SLOTS = 2
RUNGS = (1, 3, 9)
RUNGS_A_TRIAL = 13 / 9
"""Rungs per trial with these rungs and factor 3."""
_SPACE = Space(dimensions=(Dimension(name="lr", kind="float", low=1e-4, high=1.0, log=True),), constants={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Times of one study."""

    num_rungs: int
    seconds: float
    rung_seconds: float
    """Sum over all rungs, measured by the workers."""
    driver_seconds: float
    """Processor time of the driver."""

    @property
    def overhead_ms(self) -> float:
        return 1000 * (self.seconds - self.rung_seconds / NUM_SLOTS) / self.num_rungs

    @property
    def idle_share(self) -> float:
        return 1 - self.rung_seconds / (NUM_SLOTS * self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Times of a study on one executor."""

    executor: str
    sleep_seconds: float | None
    """Sleep of each rung; None if rungs trained nothing."""
    study: Measured


def study_on(
    executor: Executor, folder: Path, *, num_trials: int, rungs: tuple[int, ...], epoch_seconds: float
) -> Measured:
    """Run a study in `folder`, whose epochs sleep for `epoch_seconds` and take one step."""
    plan = StudyPlan(
        space=_SPACE,
        objective=Objective(metric="accuracy", mode="max"),
        rungs=rungs,
        factor=3,
        limits=BudgetLimits(trials=num_trials),
        seed=0,
    )

    def make_job(trial: Trial, epochs_from: int, epochs_to: int) -> RungJob:
        return RungJob(
            number=trial.number,
            source=TargetSource(target="paused_task:blobs"),
            params={**trial.params, "batch_size": 160, "pause": 10 * epoch_seconds},  # each step sleeps a tenth of it
            seed=trial.seed,
            split=ValidationSplit(fraction=0.2, seed=0),
            device=DeviceSpec(kind="cpu"),
            planned_epochs=rungs[-1],
            epochs_from=epochs_from,
            epochs_to=epochs_to,
            checkpoint_in=checkpoint_path(folder, trial.number, epochs_from) if epochs_from else None,
            checkpoint_out=checkpoint_path(folder, trial.number, epochs_to) if epochs_to < rungs[-1] else None,
        )

    ends: list[TrialEnded] = []

    def sink(event: Event) -> None:
        database.append(event, time.monotonic())
        if isinstance(event, TrialEnded):
            ends.append(event)

    folder.mkdir()
    with SearchDatabase.create(folder / "search.sqlite", {"name": "scaling"}) as database:
        study = Study(
            plan,
            new_state(plan),
            sampler=make_sampler("random", _SPACE, mode="max", seed=0),
            executor=executor,
            make_job=make_job,
            hooks=StudyHooks(
                discard=lambda trial, epochs: checkpoint_path(folder, trial.number, epochs).unlink(missing_ok=True),
                sink=sink,
            ),
        )
        started, cpu = time.monotonic(), time.process_time()
        study.run()
        seconds, driver_seconds = time.monotonic() - started, time.process_time() - cpu
    outcomes = {end.report.outcome for end in ends}
    if outcomes != {"finished"}:
        raise RuntimeError(f"unexpected outcomes of rungs, {outcomes}: {[end.report.message for end in ends][-1]}")
    return Measured(
        num_rungs=len(ends),
        seconds=seconds,
        rung_seconds=sum(end.report.seconds for end in ends),
        driver_seconds=driver_seconds,
    )


@contextmanager
def executor_of(name: str, folder: Path) -> Iterator[Executor]:
    """An executor with two workers that have imported PyTorch and trained."""
    on_ray: AbstractContextManager[Executor] = local_ray(folder, num_slots=NUM_SLOTS)
    opened = on_ray if name == EXECUTORS[0] else LocalExecutor(NUM_SLOTS, num_threads=1)
    with opened as executor:
        study_on(executor, folder / "warm", num_trials=6 * NUM_SLOTS, rungs=(1, 3), epoch_seconds=0.05)
        yield executor


@contextmanager
def training_nothing() -> Iterator[None]:
    """Make both executors run `quick_rung` instead of training."""
    from probe.search.executors.ray import executor as ray_executor

    with (
        patch.object(local, "train_in_worker", quick_rung),
        patch.object(ray_executor, "train_in_worker", quick_rung),
    ):
        yield
