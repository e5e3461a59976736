"""`probe.find_lr`: find a learning rate by range tests and, on request, by runs that confirm it; compare several settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from probe.device.environment import collect_meta
from probe.device.select import open_device, parse_device, resolve_device
from probe.errors import ProbeError, UsageError
from probe.loading.dataset import is_unbounded, num_samples
from probe.loading.random_state import random_state_kept
from probe.lr.confirm import suggest_confirmed, with_expectations
from probe.lr.curve import mean_curve
from probe.lr.measure import ProbeContext, measure_confirmation, measure_curves
from probe.lr.plan import Confirm, LrPlan, TrainingLength, plan_probe, training_length
from probe.lr.records import Axis, Confirmation, LrComparison, LrCurve, LrResult, LrSuggestion
from probe.lr.suggest import finder_picks, suggest, usable_curves
from probe.records import RunOrigin
from probe.task import Task
from probe.tasks.given import TaskFunction
from probe.tasks.source import TaskSource, as_source
from probe.training.building import build_task
from probe.training.optimizer_names import optimizer_title
from probe.training.reached_hyperparameters import check_lr_reached
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
    """Suggest a learning rate by a range test (Smith 2017). With a schedule, it is the peak learning rate.

    The caller's random generators are restored. Ctrl-C ends the probe with the measurements so far.

    Args:
        task: the task to train, or a function that returns it.
        params: hyperparameters of the trainer (batch_size, optimizer, precision, lr_schedule, ...) and of the task.
        training_steps: length of the planned training in steps. By default, that of the `epochs` in `params`, or 500.
        steps: training steps of each range test. By default 300; 200 with `confirm=True`, 100 with "full".
        repeats: number of range tests with different seeds, whose curves are averaged.
        confirm: True confirms the suggestion by runs of 100 steps at five learning rates around it, evaluated on the
            validation split; "full" by runs of a quarter of `training_steps`. Without a validation split, a fifth of the
            training data is held out.
        lowest_lr: lowest learning rate of the range test.
        highest_lr: highest learning rate of the range test.
        device: `auto`, `cuda`, `cuda:N`, `cpu` or `simulated:SIZE`.
        seed: seed of all random numbers.
        observer: called with an LrPlan, then with an LrProgress every few steps and with each LrCurve and ConfirmRun.
        origin: what started the probe, for its record.

    Returns:
        The suggestion with the range where training should be nearly as good, the curves, the runs and warnings. The
        suggestion is None if the loss shows no usable learning rate; the first warning then says why.

    Raises:
        UsageError: a setting is out of range.
        TaskError: the task cannot be trained.
        DeviceError: the device cannot be used.
    """
    started = time.perf_counter()
    settings: dict[str, Any] = {"lowest_lr": lowest_lr, "highest_lr": highest_lr, "steps": steps, "repeats": repeats}
    settings["confirm"] = confirm
    # Checked before loading data.
    plan_probe(**settings, training_steps=1 if training_steps is None else training_steps)
    context, source = _open(task, params or {}, device=device, seed=seed, observer=observer)
    meta = collect_meta(device=context.device.name, seed=seed, origin=origin)
    length = training_length(
        context.task, context.settings, steps=training_steps, has_epochs="epochs" in (params or {})
    )
    plan = plan_probe(**settings, training_steps=length.num_steps)
    context.report(plan)
    curves, confirmation = _measure(context, plan)
    if confirmation is not None:
        confirmation = with_expectations(confirmation, effective_steps=length.effective_steps)
    suggestion, warnings, is_confirmed = _suggest(curves, confirmation, plan, length)
    trainer, measured = context.settings, [curve for curve in usable_curves(curves) if curve.points]
    return LrResult(
        meta=meta,
        stopped_by="interrupted" if _was_interrupted(curves, confirmation, plan, suggestion) else "finished",
        task=source.title,
        optimizer=optimizer_title(trainer.optimizer),
        precision=trainer.precision,
        batch_size=trainer.batch_size,
        lr_schedule=trainer.lr_schedule,
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
        other_finders=finder_picks(mean_curve(measured, plan.ramp_steps)) if measured else None,
        warnings=(*warnings, *context.device.warnings(trainer.precision)),
        curves=curves,
        confirmation=confirmation,
        seconds=time.perf_counter() - started,
    )


def _open(
    task: Task | TaskFunction | TaskSource,
    params: Mapping[str, Any],
    *,
    device: str,
    seed: int,
    observer: Callable[[Any], None] | None,
) -> tuple[ProbeContext, TaskSource]:
    """Open the device, build the task and check that its learning rate can be measured."""
    source = as_source(task)
    opened = open_device(resolve_device(parse_device(device), measuring_memory=False), measuring_memory=False)
    built = build_task(source, params)
    check_lr_reached(built, source, params)
    settings = TrainerSettings.for_task(built, params)
    available = num_samples(built.train)
    if available < settings.batch_size and not is_unbounded(built.train):
        raise UsageError(
            f"The training set has {available} samples, fewer than one batch of {settings.batch_size}.",
            hint=f"Choose a batch size of at most {available}.",
        )
    return ProbeContext(task=built, settings=settings, device=opened, seed=seed, observer=observer), source


def _measure(context: ProbeContext, plan: LrPlan) -> tuple[tuple[LrCurve, ...], Confirmation | None]:
    """Run the range tests, then the runs around their suggestion, if the plan has any and there is a suggestion."""
    with random_state_kept(context.device.torch_device), context.device.track():
        curves = measure_curves(context, plan)
        center, _ = suggest(curves, num_steps=plan.ramp_steps)
        if center is None or not plan.num_runs or curves[-1].ended_by == "interrupted":
            return curves, None
        return curves, measure_confirmation(context, plan, center.lr)


def _suggest(
    curves: Sequence[LrCurve], confirmation: Confirmation | None, plan: LrPlan, length: TrainingLength
) -> tuple[LrSuggestion | None, list[str], bool]:
    """Return the suggestion, warnings, and whether runs have confirmed it."""
    suggestion, warnings = suggest(curves, num_steps=plan.ramp_steps, passes=length.passes, lowest_lr=plan.lowest_lr)
    if suggestion is None or not plan.num_runs or curves[-1].ended_by == "interrupted":
        return suggestion, warnings, False
    if confirmation is None or len(confirmation.runs) < plan.num_runs:
        warnings.append("The confirmation was interrupted: the suggestion is that of the range test.")
        return suggestion, warnings, False
    confirmed, more = suggest_confirmed(
        confirmation, effective_steps=length.effective_steps, lowest=plan.lowest_lr, highest=plan.highest_lr
    )
    return confirmed or suggestion, [*warnings, *more], confirmed is not None


def _was_interrupted(
    curves: Sequence[LrCurve], confirmation: Confirmation | None, plan: LrPlan, suggestion: LrSuggestion | None
) -> bool:
    num_runs = 0 if confirmation is None else len(confirmation.runs)
    return curves[-1].ended_by == "interrupted" or (suggestion is not None and num_runs < plan.num_runs)


def compare_lrs(
    task: Task | TaskSource,
    variants: Sequence[Mapping[str, Any]],
    *,
    axis: Axis,
    find: Callable[..., LrResult] = find_lr,
    begin: Callable[[str], None] | None = None,
    **options: Any,
) -> LrComparison:
    """Find a learning rate for each of several configurations, which differ in `axis`, by calls of `find`; `begin` gets their
    names. Ctrl-C ends the comparison with the results so far. Raises UsageError without variants. A ProbeError of a later
    variant has the comparison so far as its `result`."""
    if not variants:
        raise UsageError(f"There is no {axis.replace('_', ' ')} to compare.")
    source = as_source(task)
    started = time.perf_counter()
    results: list[LrResult] = []

    def comparison(stopped_by: Literal["finished", "interrupted", "error"]) -> LrComparison:
        return LrComparison(
            meta=results[0].meta,
            stopped_by=stopped_by,
            task=source.title,
            axis=axis,
            results=tuple(results),
            seconds=time.perf_counter() - started,
        )

    for params in variants:
        if begin is not None:
            begin(f"{axis.replace('_', ' ')} {params[axis]}")
        try:
            results.append(find(source, params=params, **options))
        except ProbeError as error:
            if results:
                error.result = comparison("error")
            raise
        except KeyboardInterrupt:
            if not results:
                raise
            return comparison("interrupted")
        if results[-1].stopped_by == "interrupted":
            return comparison("interrupted")
    return comparison("finished")
