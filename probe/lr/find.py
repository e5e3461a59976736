"""`probe.find_lr`: find a learning rate by range tests and, on request, by runs that confirm it; compare several settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from probe.device.select import DeviceSpec, parse_device, resolve_device, seen_alone
from probe.errors import ProbeError, UsageError
from probe.lr.confirm import lrs_around, suggest_confirmed, with_expectations
from probe.lr.context import ProbeConfig, seed_of_test
from probe.lr.curve import mean_curve
from probe.lr.plan import Confirm, LrPlan, TrainingLength, plan_probe
from probe.lr.records import Axis, Confirmation, ConfirmRun, LrComparison, LrCurve, LrResult, LrSuggestion, Raised
from probe.lr.runner import Observer, ProbeRunner, open_runner
from probe.lr.suggest import finder_picks, suggest, usable_curves
from probe.records import RunOrigin
from probe.task import Task
from probe.tasks.given import TaskFunction
from probe.tasks.source import TaskSource, as_source
from probe.workers.child import in_worker


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
    device: str | DeviceSpec = "auto",
    seed: int = 0,
    observer: Observer | None = None,
    in_process: bool = False,
    origin: RunOrigin | None = None,
) -> LrResult:
    """Suggest a learning rate by a range test (Smith 2017). With a schedule, it is the peak learning rate.

    On a GPU it trains in a child process. The caller's random generators are restored. Ctrl-C ends the probe with the
    measurements so far. An error of the task's code at a high learning rate ends the range test there.

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
        in_process: train in this process on a GPU as well, for a task that cannot be pickled.
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
    spec = device if isinstance(device, DeviceSpec) else parse_device(device)
    spec = resolve_device(spec, measuring_memory=False)
    in_process = in_process or not spec.is_gpu or in_worker()
    source = as_source(task)
    config = ProbeConfig(
        source=source,
        params=dict(params or {}),
        device=spec if in_process else seen_alone(spec),
        seed=seed,
        training_steps=training_steps,
        origin=origin,
    )
    with open_runner(config, observer, in_process=in_process) as runner:
        info = runner.info
        plan = plan_probe(**settings, training_steps=info.length.num_steps)
        _report(observer, plan)
        curves, confirmation = _measure(runner, plan, config, observer)
        lost = [_LOST] if runner.is_lost and (len(curves) < plan.repeats or plan.num_runs) else []
        if runner.is_lost and confirmation is None:
            plan = replace(plan, depth="range_test", num_runs=0)
    length = info.length
    if confirmation is not None:
        confirmation = with_expectations(confirmation, effective_steps=length.effective_steps)
    suggestion, warnings, is_confirmed = _suggest(curves, confirmation, plan, length)
    measured = [curve for curve in usable_curves(curves) if curve.points]
    return LrResult(
        meta=info.meta,
        stopped_by="interrupted" if _was_interrupted(curves, confirmation, plan, suggestion) else "finished",
        task=source.title,
        optimizer=info.optimizer,
        precision=info.precision,
        batch_size=info.batch_size,
        lr_schedule=info.lr_schedule,
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
        warnings=(*warnings, *lost, *info.device_warnings),
        curves=curves,
        confirmation=confirmation,
        seconds=time.perf_counter() - started,
    )


_LOST = (
    "After this error, this process cannot use the GPU any more, so nothing else was measured. If the task can be pickled, "
    "leave out in_process."
)


def _report(observer: Observer | None, record: Any) -> None:
    if observer is not None:
        observer(record)


def _measure(
    runner: ProbeRunner, plan: LrPlan, config: ProbeConfig, observer: Observer | None
) -> tuple[tuple[LrCurve, ...], Confirmation | None]:
    """Run the range tests, then the runs around their suggestion, if the plan has any and there is a suggestion."""
    curves = _measure_curves(runner, plan, config, observer)
    center, _ = suggest(curves, num_steps=plan.ramp_steps)
    if center is None or not plan.num_runs or curves[-1].ended_by == "interrupted" or runner.is_lost:
        return curves, None
    return curves, _measure_confirmation(runner, plan, center.lr, observer)


def _measure_curves(
    runner: ProbeRunner, plan: LrPlan, config: ProbeConfig, observer: Observer | None
) -> tuple[LrCurve, ...]:
    """Run the range tests. Ctrl-C ends them with the incomplete curve. An error that ended one is raised if it occurs at the
    lowest learning rate as well."""
    curves: list[LrCurve] = []
    for number in range(plan.repeats):
        try:
            curve = runner.range_test(plan, number)
            if curve.raised is not None and not runner.is_lost:
                curve = _checked(runner, plan, number, curve, curve.raised)
        except KeyboardInterrupt:  # while the model is built
            if not curves:
                raise
            curve = LrCurve(seed=seed_of_test(config.seed, number), points=(), ended_by="interrupted")
        curves.append(curve)
        _report(observer, curve)
        if curve.ended_by == "interrupted" or runner.is_lost:
            break
    return tuple(curves)


def _checked(runner: ProbeRunner, plan: LrPlan, number: int, curve: LrCurve, raised: Raised) -> LrCurve:
    """Make the steps of a range test at its lowest learning rate. An error there is not the learning rate's, and passes."""
    num_steps = curve.num_steps + 1  # the last one raised
    runner.train_at_lowest(plan, number, num_steps)
    return replace(curve, raised=replace(raised, was_checked=True), num_extra_steps=curve.num_extra_steps + num_steps)


def _measure_confirmation(
    runner: ProbeRunner, plan: LrPlan, lr: float, observer: Observer | None
) -> Confirmation | None:
    """Run at learning rates around `lr`. Ctrl-C returns the finished runs, or None before the first one. An error in the run at
    the lowest learning rate passes."""
    finished: list[ConfirmRun] = []
    try:
        start = runner.untrained(plan)
        for run_lr in lrs_around(lr, lowest=plan.lowest_lr, highest=plan.highest_lr):
            finished.append(runner.run_at(plan, run_lr, errors_pass=not finished))
            _report(observer, finished[-1])
            if runner.is_lost:
                break
    except KeyboardInterrupt:
        if not finished:
            return None
    return Confirmation(
        measured_on=start.measured_on,
        num_samples=start.num_samples,
        initial_loss=start.loss,
        planned_steps=plan.run_steps,
        runs=tuple(finished),
    )


def _suggest(
    curves: Sequence[LrCurve], confirmation: Confirmation | None, plan: LrPlan, length: TrainingLength
) -> tuple[LrSuggestion | None, list[str], bool]:
    """Return the suggestion, warnings, and whether runs have confirmed it."""
    suggestion, warnings = suggest(curves, num_steps=plan.ramp_steps, passes=length.passes, lowest_lr=plan.lowest_lr)
    if suggestion is None or not plan.num_runs or curves[-1].ended_by == "interrupted":
        return suggestion, warnings, False
    if confirmation is None or not _is_complete(confirmation, plan):
        warnings.append("The confirmation was interrupted: the suggestion is that of the range test.")
        return suggestion, warnings, False
    confirmed, more = suggest_confirmed(
        confirmation, effective_steps=length.effective_steps, lowest=plan.lowest_lr, highest=plan.highest_lr
    )
    return confirmed or suggestion, [*warnings, *more], confirmed is not None


def _is_complete(confirmation: Confirmation, plan: LrPlan) -> bool:
    """Return whether all runs were made that say something: those above one that raised an error are not evaluated."""
    return len(confirmation.runs) == plan.num_runs or confirmation.runs[-1].raised is not None


def _was_interrupted(
    curves: Sequence[LrCurve], confirmation: Confirmation | None, plan: LrPlan, suggestion: LrSuggestion | None
) -> bool:
    if curves[-1].ended_by == "interrupted":
        return True
    is_wanted = suggestion is not None and plan.num_runs > 0
    return is_wanted and (confirmation is None or not _is_complete(confirmation, plan))


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
