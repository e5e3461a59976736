"""`probe.find_lr`: a learning rate for a task, by range tests and, if asked for, by runs that confirm it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from probe.device.environment import collect_meta
from probe.device.select import open_device, parse_device, resolve_device
from probe.errors import UsageError
from probe.loading.dataset import is_unbounded, num_samples
from probe.loading.random_state import random_state_kept
from probe.lr.confirm import suggest_confirmed, with_expectations
from probe.lr.curve import mean_curve
from probe.lr.measure import Subject, measure_confirmation, measure_curves
from probe.lr.other_finders import finder_picks
from probe.lr.plan import Confirm, LrPlan, TrainingLength, plan_probe, training_length
from probe.lr.records import Confirmation, FinderPicks, LrCurve, LrResult, LrSuggestion
from probe.lr.suggest import suggest
from probe.records import RunOrigin
from probe.task import Task
from probe.tasks.given import TaskFunction
from probe.tasks.source import TaskSource, as_source
from probe.training.building import build_task
from probe.training.optim.names import optimizer_title
from probe.training.optim.reached_hyperparameters import check_lr_reached
from probe.training.settings import TrainerSettings


def find_lr(
    task: Task | TaskFunction | TaskSource,
    *,
    params: Mapping[str, Any] | None = None,
    training_steps: int | None = None,
    steps: int | None = None,
    repeats: int = 1,
    confirm: Confirm = False,
    lowest_lr: float = 1e-5,
    highest_lr: float = 10.0,
    device: str = "auto",
    seed: int = 0,
    observer: Callable[[Any], None] | None = None,
    origin: RunOrigin | None = None,
) -> LrResult:
    """Suggest a learning rate: the peak one, where `params` name a schedule.

    Args:
        params: hyperparameters: the trainer's (batch_size, optimizer, precision, schedule, ...) and the task's own.
        training_steps: planned training steps. None: those of the `epochs` in `params`, else probe.lr.plan.ASSUMED_TRAINING_STEPS.
        steps: training steps of a range test. None: 300; 200 with `confirm`, 100 with "full".
        repeats: range tests, each with its own seed; their curves are averaged.
        confirm: True: runs of 100 steps at five learning rates around what the range test says, read on the validation
            part; "full": runs of a quarter of the training_steps. Without a validation part, a fifth of the training data is held out.
        lowest_lr, highest_lr: ends of the exponential ramp.
        observer: called with the LrPlan first, with an LrProgress every few steps, with every LrCurve and ConfirmRun.

    Raises UsageError for settings out of range, TaskError for a task that cannot be trained, DeviceError. The caller's random
    generators are left as they were. Ctrl-C ends the probe with what it has measured.
    """
    started = time.perf_counter()
    asked: dict[str, Any] = {"lowest_lr": lowest_lr, "highest_lr": highest_lr, "steps": steps, "repeats": repeats}
    plan_probe(
        **asked, confirm=confirm, training_steps=1 if training_steps is None else training_steps
    )  # before any data is loaded
    chosen = params or {}
    source = as_source(task)
    opened = open_device(resolve_device(parse_device(device), measuring_memory=False), measuring_memory=False)
    meta = collect_meta(device=opened.name, seed=seed, origin=origin)
    built = build_task(source, chosen)
    check_lr_reached(built, source, chosen)
    settings = TrainerSettings.for_task(built, chosen)
    _check_batch(built, settings)
    length = training_length(built, settings, steps=training_steps, has_epochs="epochs" in chosen)
    plan = plan_probe(**asked, confirm=confirm, training_steps=length.num_steps)
    subject = Subject(task=built, settings=settings, device=opened, seed=seed, observer=observer)
    if observer is not None:
        observer(plan)
    with random_state_kept(opened.torch_device), opened.track():
        curves = measure_curves(subject, plan)
        centre, _ = suggest(curves, num_steps=plan.ramp_steps)
        confirmation = None
        if centre is not None and plan.num_runs and curves[-1].ended_by != "interrupted":
            confirmation = measure_confirmation(subject, plan, centre.lr)
    if confirmation is not None:
        confirmation = with_expectations(confirmation, effective_steps=length.effective_steps)
    suggestion, warnings, is_confirmed = _read(curves, confirmation, plan, length)
    return LrResult(
        meta=meta,
        stopped_by="interrupted" if _was_interrupted(curves, confirmation, plan, suggestion) else "finished",
        task=source.title,
        optimizer=optimizer_title(settings.optimizer),
        precision=settings.precision,
        batch_size=settings.batch_size,
        lr_schedule=settings.lr_schedule,
        training_steps=length.num_steps,
        training_steps_assumed=length.is_assumed,
        passes=length.passes,
        depth=plan.depth if is_confirmed else "range_test",
        lowest_lr=lowest_lr,
        highest_lr=highest_lr,
        ramp_steps=plan.ramp_steps,
        num_steps=sum(curve.num_steps for curve in curves)
        + (sum(run.num_steps for run in confirmation.runs) if confirmation is not None else 0),
        suggestion=suggestion,
        other_finders=_finder_picks(curves, plan),
        warnings=tuple(warnings),
        curves=curves,
        confirmation=confirmation,
        seconds=time.perf_counter() - started,
    )


def _read(
    curves: Sequence[LrCurve], confirmation: Confirmation | None, plan: LrPlan, length: TrainingLength
) -> tuple[LrSuggestion | None, list[str], bool]:
    """The suggestion, warnings, and whether it rests on the confirming runs rather than on the curves alone."""
    suggestion, warnings = suggest(curves, num_steps=plan.ramp_steps, passes=length.passes, lowest_lr=plan.lowest_lr)
    if suggestion is None or not plan.num_runs or curves[-1].ended_by == "interrupted":
        return suggestion, warnings, False
    if confirmation is None or len(confirmation.runs) < plan.num_runs:
        return (
            suggestion,
            [*warnings, "The confirming runs were interrupted: the suggestion is the range test's."],
            False,
        )
    confirmed, more = suggest_confirmed(
        confirmation, effective_steps=length.effective_steps, lowest=plan.lowest_lr, highest=plan.highest_lr
    )
    return confirmed or suggestion, [*warnings, *more], confirmed is not None


def _was_interrupted(
    curves: Sequence[LrCurve], confirmation: Confirmation | None, plan: LrPlan, suggestion: LrSuggestion | None
) -> bool:
    num_runs = 0 if confirmation is None else len(confirmation.runs)
    return curves[-1].ended_by == "interrupted" or (suggestion is not None and num_runs < plan.num_runs)


def _finder_picks(curves: Sequence[LrCurve], plan: LrPlan) -> FinderPicks | None:
    measured = [curve for curve in curves if curve.points]
    return finder_picks(mean_curve(measured, plan.ramp_steps)) if measured else None


def _check_batch(task: Task, settings: TrainerSettings) -> None:
    available = num_samples(task.train)
    if available < settings.batch_size and not is_unbounded(task.train):
        raise UsageError(
            f"The training set has {available} samples, fewer than one batch of {settings.batch_size}.",
            hint=f"Choose a batch size of at most {available}.",
        )
