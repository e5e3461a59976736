"""The measurements of an LR probe: range tests, and runs at constant learning rates. The model is restored after each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from probe.device.protocol import Device
from probe.errors import DataError, UsageError
from probe.loading.dataset import num_samples
from probe.loading.validation import hold_out, take_samples
from probe.lr.confirm import lrs_around, steps_to_evaluate
from probe.lr.plan import LrPlan
from probe.lr.range_test import run_range_test
from probe.lr.records import Confirmation, ConfirmRun, LossAt, LrCurve, LrProgress
from probe.seeds import derive_seed
from probe.task import Task
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings
from probe.training.step import matmul_precision
from probe.units import format_lr

HELD_OUT_FRACTION = 0.2
MIN_EVALUATED = 512
"""Minimum number of validation samples in an evaluation, if there are as many."""
EVALUATED_FRACTION = 0.25
"""Validation samples in an evaluation, as a fraction of the samples that a run trains on: evaluating a large validation split
must not cost more than the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeContext:
    """Task, device and observer of a probe."""

    task: Task
    settings: TrainerSettings
    device: Device
    seed: int
    observer: Callable[[Any], None] | None

    def report(self, record: Any) -> None:
        """Send a record to the observer."""
        if self.observer is not None:
            self.observer(record)


def measure_curves(context: ProbeContext, plan: LrPlan) -> tuple[LrCurve, ...]:
    """Run the range tests; the first one uses the probe's seed. Ctrl-C ends them with the incomplete curve."""
    curves: list[LrCurve] = []
    for number in range(plan.repeats):
        seed = context.seed if number == 0 else derive_seed(context.seed, "repeat", number)
        curve = run_range_test(
            _new_run(context, context.task, seed),
            lowest_lr=plan.lowest_lr,
            highest_lr=plan.highest_lr,
            num_steps=plan.ramp_steps,
            seed=seed,
            phase="range test" if plan.repeats == 1 else f"range test {number + 1} of {plan.repeats}",
            observer=context.observer,
        )
        curves.append(curve)
        context.report(curve)
        if curve.ended_by == "interrupted":
            break
    return tuple(curves)


def measure_confirmation(context: ProbeContext, plan: LrPlan, lr: float) -> Confirmation | None:
    """Run at learning rates around `lr`. Ctrl-C returns the finished runs, or None before the first one.

    Raises:
        UsageError: the task has no validation split, and none can be held out.
        DataError: the loss of the untrained model is not finite.
    """
    task, is_held_out = _with_validation(context, plan)
    run = _new_run(context, task, context.seed)
    finished: list[ConfirmRun] = []
    initial = math.nan
    try:
        initial = run.evaluate(task.val).loss
        if not math.isfinite(initial):
            raise DataError("The loss on the validation data is not finite before training: check the data for NaN.")
        for run_lr in lrs_around(lr, lowest=plan.lowest_lr, highest=plan.highest_lr):
            finished.append(run_at(run, run_lr, plan.run_steps, observer=context.observer))
            context.report(finished[-1])
    except KeyboardInterrupt:
        if not finished:
            return None
    return Confirmation(
        measured_on="held_out" if is_held_out else "validation",
        num_samples=num_samples(task.val),
        initial_loss=initial,
        planned_steps=plan.run_steps,
        runs=tuple(finished),
    )


def run_at(run: TrainingRun, lr: float, num_steps: int, *, observer: Callable[[Any], None] | None = None) -> ConfirmRun:
    """Train `num_steps` steps at `lr` with evaluations in between, then restore `run`, also after an exception or Ctrl-C.

    The run ends early if an evaluation is not finite. Training losses are not read, because that would wait for the GPU.
    """
    evaluated_steps = set(steps_to_evaluate(num_steps))
    evaluations: list[LossAt] = []
    before = run.state()
    done = 0
    finished = True
    try:
        run.set_lr(lr)
        with matmul_precision(run.settings.precision):
            batches = run.batches()
            for done in range(1, num_steps + 1):
                run.train_step(
                    next(batches)
                )  # no variable keeps the batch, so that its memory is free for the next one
                if done not in evaluated_steps:
                    continue
                loss = run.evaluate(run.task.val).loss
                if not math.isfinite(loss):
                    finished = False
                    break
                evaluations.append(LossAt(step=done, loss=loss))
                if observer is not None:
                    phase = f"run at {format_lr(lr)}"
                    observer(
                        LrProgress(step=done, num_steps=num_steps, lr=lr, loss=loss, phase=phase, is_range_test=False)
                    )
    finally:
        run.restore(before)
    return ConfirmRun(lr=lr, num_steps=done, evaluations=tuple(evaluations), finished=finished)


def _new_run(context: ProbeContext, task: Task, seed: int) -> TrainingRun:
    # Weights that become NaN are detected by the next loss or evaluation, not by the training step.
    return TrainingRun(task, context.settings, device=context.device, seed=seed, stops_at_nan=False)


def _with_validation(context: ProbeContext, plan: LrPlan) -> tuple[Task, bool]:
    """Return the task with a validation split of suitable size, and whether it was held out of the training data."""
    is_held_out = context.task.val is None
    try:
        task = hold_out(context.task, fraction=HELD_OUT_FRACTION, seed=derive_seed(context.seed, "validation"))
    except DataError as error:
        raise UsageError(
            f"Confirmation needs validation data, and none can be held out: {error}",
            hint="Give the Task a val=, or run without confirmation.",
        ) from None
    trained_on = plan.run_steps * context.settings.batch_size
    count = max(MIN_EVALUATED, round(EVALUATED_FRACTION * trained_on))
    val = take_samples(task.val, count, seed=derive_seed(context.seed, "evaluated"))
    return replace(task, val=val), is_held_out
