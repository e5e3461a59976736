"""The built task and the open device of an LR probe, in the process that trains, and what it measures there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from probe.device.environment import collect_meta
from probe.device.select import DeviceSpec, open_device
from probe.errors import DataError, UsageError
from probe.loading.dataset import is_unbounded, num_samples
from probe.loading.random_state import random_state_kept
from probe.loading.validation import hold_out, take_samples
from probe.lr.measure import run_at, run_range_test, train_at
from probe.lr.plan import LrPlan, TrainingLength, training_length
from probe.lr.records import ConfirmRun, LrCurve, MeasuredOn
from probe.records import Precision, RunMeta, RunOrigin
from probe.seeds import derive_seed
from probe.system.gpu_errors import sticky_gpu_error
from probe.task import Task
from probe.tasks.source import TaskSource
from probe.training.building import build_task
from probe.training.optimizer_names import optimizer_title
from probe.training.reached_hyperparameters import check_lr_reached
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings

HELD_OUT_FRACTION = 0.2
MIN_EVALUATED = 512
"""Minimum number of validation samples in an evaluation, if there are as many."""
EVALUATED_FRACTION = 0.25
"""Validation samples in an evaluation, as a fraction of the samples that a run trains on: evaluating a large validation split
must not cost more than the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeConfig:
    """Description of what to probe. It is picklable, so that a child process can build the task."""

    source: TaskSource
    params: Mapping[str, Any]
    device: DeviceSpec
    seed: int
    training_steps: int | None
    origin: RunOrigin | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeInfo:
    """Properties of the built task and of the training that the learning rate is for."""

    meta: RunMeta
    optimizer: str
    precision: Precision
    batch_size: int
    lr_schedule: str
    length: TrainingLength
    device_warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Untrained:
    """What the runs start from."""

    measured_on: MeasuredOn
    num_samples: int
    """Number of samples in each evaluation."""
    loss: float
    """Loss of the untrained model on them."""


class ProbeContext:
    """A task on an open device. Each measurement starts from new weights."""

    def __init__(self, config: ProbeConfig, observer: Callable[[Any], None] | None) -> None:
        self._device = open_device(config.device, measuring_memory=False)
        task = build_task(config.source, config.params)
        check_lr_reached(task, config.source, config.params)
        settings = TrainerSettings.for_task(task, config.params)
        available = num_samples(task.train)
        if available < settings.batch_size and not is_unbounded(task.train):
            raise UsageError(
                f"The training set has {available} samples, fewer than one batch of {settings.batch_size}.",
                hint=f"Choose a batch size of at most {available}.",
            )
        self._task, self._settings, self._seed, self._observer = task, settings, config.seed, observer
        self.title = config.source.title
        self._confirmed: tuple[TrainingRun, Untrained] | None = None
        self.info = ProbeInfo(
            meta=collect_meta(device=self._device.name, seed=config.seed, origin=config.origin),
            optimizer=optimizer_title(settings.optimizer),
            precision=settings.precision,
            batch_size=settings.batch_size,
            lr_schedule=settings.lr_schedule,
            length=training_length(task, settings, steps=config.training_steps, has_epochs="epochs" in config.params),
            device_warnings=self._device.warnings(settings.precision),
        )

    @property
    def is_lost(self) -> bool:
        """Whether an error of the GPU has ended all measurements in this process."""
        return sticky_gpu_error() is not None

    def random_state_kept(self) -> AbstractContextManager[None]:
        """A context that restores the random generators of the process."""
        return random_state_kept(self._device.torch_device)

    def range_test(self, plan: LrPlan, number: int) -> LrCurve:
        """Run the range test of this number; the first one uses the probe's seed. Ctrl-C ends its curve."""
        seed = seed_of_test(self._seed, number)
        with self._device.track():
            return run_range_test(
                self._new_run(self._task, seed),
                lowest_lr=plan.lowest_lr,
                highest_lr=plan.highest_lr,
                num_steps=plan.ramp_steps,
                seed=seed,
                phase=plan.phase_of_test(number),
                observer=self._observer,
            )

    def train_at_lowest(self, plan: LrPlan, number: int, num_steps: int) -> None:
        """Train the first steps of a range test at its lowest learning rate. An error passes."""
        with self._device.track():
            train_at(self._new_run(self._task, seed_of_test(self._seed, number)), plan.lowest_lr, num_steps)

    def untrained(self, plan: LrPlan) -> Untrained:
        """Prepare runs. Raises UsageError without validation data, and DataError if the loss of the untrained model is not
        finite."""
        return self._prepared(plan)[1]

    def run_at(self, plan: LrPlan, lr: float, *, errors_pass: bool) -> ConfirmRun:
        """Run at a constant learning rate; see `run_at`."""
        run, _ = self._prepared(plan)
        with self._device.track():
            return run_at(run, lr, plan.run_steps, errors_pass=errors_pass, observer=self._observer)

    def _prepared(self, plan: LrPlan) -> tuple[TrainingRun, Untrained]:
        if self._confirmed is None:
            task = self._with_validation(plan)
            with self._device.track():
                run = self._new_run(task, self._seed)
                loss = run.evaluate(task.val).loss
            if not math.isfinite(loss):
                raise DataError(
                    "The loss on the validation data is not finite before training: check the data for NaN."
                )
            measured_on: MeasuredOn = "held_out" if self._task.val is None else "validation"
            found = Untrained(measured_on=measured_on, num_samples=num_samples(task.val), loss=loss)
            self._confirmed = run, found
        return self._confirmed

    def _new_run(self, task: Task, seed: int) -> TrainingRun:
        # Weights that become NaN are detected by the next loss or evaluation, not by the training step.
        return TrainingRun(task, self._settings, device=self._device, seed=seed, stops_at_nan=False)

    def _with_validation(self, plan: LrPlan) -> Task:
        """The task with a validation split of suitable size, which may be held out of the training data."""
        try:
            task = hold_out(self._task, fraction=HELD_OUT_FRACTION, seed=derive_seed(self._seed, "validation"))
        except DataError as error:
            raise UsageError(
                f"Confirmation needs validation data, and none can be held out: {error}",
                hint="Give the Task a val=, or run without confirmation.",
            ) from None
        count = max(MIN_EVALUATED, round(EVALUATED_FRACTION * plan.run_steps * self._settings.batch_size))
        return replace(task, val=take_samples(task.val, count, seed=derive_seed(self._seed, "evaluated")))


def seed_of_test(seed: int, number: int) -> int:
    """The seed of a range test."""
    return seed if number == 0 else derive_seed(seed, "repeat", number)
