"""`probe.find_lr`: a learning rate for a task, by a range test."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from probe.device.environment import collect_meta
from probe.device.protocol import Device
from probe.device.select import open_device, parse_device, resolve_device
from probe.errors import UsageError
from probe.lr.range_test import run_range_test
from probe.lr.records import LrCurve, LrResult
from probe.lr.suggest import MIN_STEPS, suggest
from probe.task import Task
from probe.training.optimizers import optimizer_title
from probe.training.random_state import random_state_kept
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings, task_params
from probe.zoo.source import TaskSource, as_source


def find_lr(
    task: Task | TaskSource,
    *,
    params: Mapping[str, Any] | None = None,
    steps: int = 300,
    lowest_lr: float = 1e-5,
    highest_lr: float = 10.0,
    device: str = "auto",
    seed: int = 0,
    observer: Callable[[Any], None] | None = None,
    argv: Sequence[str] = (),
    recipe_hash: str | None = None,
) -> LrResult:
    """Suggest a learning rate by one range test of at most `steps` training steps.

    Args:
        params: hyperparameters: the trainer's (batch_size, optimizer, precision, ...) and the task's own.
        lowest_lr, highest_lr: ends of the exponential ramp.
        observer: called with an LrProgress every few steps, and with the LrCurve at the end.

    Raises UsageError for settings out of range, TaskError for a task that cannot be trained, DeviceError.
    The caller's random generators are left as they were.
    """
    check_ramp(lowest_lr, highest_lr, steps)
    started = time.perf_counter()
    chosen = params or {}
    source = as_source(task)
    spec = resolve_device(parse_device(device), measuring_memory=False)
    opened = open_device(spec, measuring_memory=False)
    meta = collect_meta(device=opened.name, seed=seed, argv=argv, recipe_hash=recipe_hash)
    built = source.build(task_params(chosen))
    settings = TrainerSettings.for_task(built, chosen)
    curve = _measure(built, settings, opened, (lowest_lr, highest_lr, steps), seed, observer)
    suggestion, warnings = suggest(curve, num_steps=steps)
    return LrResult(
        meta=meta,
        stopped_by="interrupted" if curve.ended_by == "interrupted" else "finished",
        task=source.title,
        optimizer=optimizer_title(settings.optimizer),
        precision=settings.precision,
        batch_size=settings.batch_size,
        lowest_lr=lowest_lr,
        highest_lr=highest_lr,
        num_steps=len(curve.points),
        suggestion=suggestion,
        warnings=tuple(warnings),
        curves=(curve,),
        seconds=time.perf_counter() - started,
    )


def check_ramp(lowest_lr: float, highest_lr: float, steps: int) -> None:
    """Raise UsageError unless the ramp climbs and has steps enough."""
    if not (math.isfinite(lowest_lr) and math.isfinite(highest_lr) and 0 < lowest_lr < highest_lr):
        raise UsageError(
            f"A range test must climb from a positive learning rate to a higher one, not from {lowest_lr:g} to {highest_lr:g}.",
            hint="The usual ramp is --from 1e-5 --to 10.",
        )
    if steps < MIN_STEPS:
        raise UsageError(
            f"A range test needs at least {MIN_STEPS} steps to be smoothed, not {steps}.", hint="300 steps are usual."
        )


def _measure(
    task: Task,
    settings: TrainerSettings,
    device: Device,
    ramp: tuple[float, float, int],
    seed: int,
    observer: Callable[[Any], None] | None,
) -> LrCurve:
    lowest_lr, highest_lr, steps = ramp
    with random_state_kept(device.torch_device), device.track():
        run = TrainingRun(task, settings, device=device, seed=seed)
        if run.num_train_samples < settings.batch_size:
            raise UsageError(
                f"The training set has {run.num_train_samples} samples, fewer than one batch of {settings.batch_size}.",
                hint=f"Choose a batch size of at most {run.num_train_samples}.",
            )
        curve = run_range_test(
            run, lowest_lr=lowest_lr, highest_lr=highest_lr, num_steps=steps, seed=seed, observer=observer
        )
    if observer is not None:
        observer(curve)
    return curve
