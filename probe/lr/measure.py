"""The measurements of an LR probe: range tests (Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section
3.3), and runs at constant learning rates. The model is restored after each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from probe.device.protocol import Device
from probe.errors import DataError, UsageError
from probe.loading.dataset import num_samples
from probe.loading.validation import hold_out, take_samples
from probe.lr.confirm import lrs_around, steps_to_evaluate
from probe.lr.curve import RunningLoss, points_of, ramp
from probe.lr.plan import LrPlan
from probe.lr.records import Confirmation, ConfirmRun, CurveEnd, LossAt, LrCurve, LrProgress
from probe.seeds import derive_seed
from probe.task import Task
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings
from probe.training.step import matmul_precision
from probe.units import format_lr

STEPS_PER_BLOCK = 10
"""Number of steps after which losses are read and progress is reported: reading each loss would wait for the GPU."""


def run_range_test(
    run: TrainingRun,
    *,
    lowest_lr: float,
    highest_lr: float,
    num_steps: int,
    seed: int,
    phase: str = "range test",
    observer: Callable[[Any], None] | None = None,
) -> LrCurve:
    """Train `num_steps` steps with increasing learning rates, or until the loss diverges, then restore `run`, also after an
    error. Divergence is detected at the end of a block of steps; steps after it are not part of the curve. Ctrl-C ends the
    curve as interrupted."""
    before = run.state()
    losses = _LossReader(num_steps, phase, observer)
    try:
        try:
            with matmul_precision(run.settings.precision):
                batches = run.batches()
                for lr in ramp(lowest_lr, highest_lr, num_steps):
                    run.set_lr(lr)
                    # No variable keeps the batch, so that its memory is free for the next one.
                    losses.add(lr, run.train_step(next(batches)))
                    if losses.ended_by is not None:
                        break
                losses.read()
        finally:
            run.restore(before)
    except KeyboardInterrupt:
        losses.interrupt()
        run.restore(before)  # once more, in case that it was interrupted
    return LrCurve(
        seed=seed,
        points=points_of(losses.lrs, losses.losses, num_steps),
        ended_by=losses.ended_by or "finished",
        num_extra_steps=losses.num_steps - len(losses.losses),
    )


class _LossReader:
    """Collects losses on the device, reads them in blocks, and detects the end of the range test."""

    def __init__(self, planned_steps: int, phase: str, observer: Callable[[Any], None] | None) -> None:
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self.ended_by: CurveEnd | None = None
        self.num_steps = 0
        """Number of steps made, including those after the end of the curve."""
        self._planned_steps = planned_steps
        self._phase = phase
        self._observer = observer
        self._unread: list[tuple[float, Tensor]] = []
        self._running: RunningLoss | None = None

    def add(self, lr: float, loss: Tensor) -> None:
        self.num_steps += 1
        self._unread.append((lr, loss))
        if len(self._unread) == STEPS_PER_BLOCK:
            self.read()

    def read(self) -> None:
        """Read the losses of the last block, up to the one that ends the range test, and report progress."""
        if not self._unread:
            return
        lrs = [lr for lr, _ in self._unread]
        losses = torch.stack([loss for _, loss in self._unread]).tolist()
        self._unread.clear()
        for lr, loss in zip(lrs, losses, strict=True):
            if self.ended_by is None:
                self._append(lr, loss)
        if self._observer is not None and self.losses:
            self._observer(
                LrProgress(
                    step=self.num_steps,
                    num_steps=self._planned_steps,
                    lr=self.lrs[-1],
                    loss=self.losses[-1],
                    phase=self._phase,
                )
            )

    def interrupt(self) -> None:
        self._observer = None
        self.read()
        self.ended_by = "interrupted"

    def _append(self, lr: float, loss: float) -> None:
        if not math.isfinite(loss):
            self.ended_by = "non_finite"
            return
        self.lrs.append(lr)
        self.losses.append(loss)
        self._running = RunningLoss.start(loss) if self._running is None else self._running.updated(loss)
        if self._running.diverged:
            self.ended_by = "diverged"


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
        try:
            curve = run_range_test(
                _new_run(context, context.task, seed),
                lowest_lr=plan.lowest_lr,
                highest_lr=plan.highest_lr,
                num_steps=plan.ramp_steps,
                seed=seed,
                phase="range test" if plan.repeats == 1 else f"range test {number + 1} of {plan.repeats}",
                observer=context.observer,
            )
        except KeyboardInterrupt:  # while the model is built
            if not curves:
                raise
            curve = LrCurve(seed=seed, points=(), ended_by="interrupted")
        curves.append(curve)
        context.report(curve)
        if curve.ended_by == "interrupted":
            break
    return tuple(curves)


def measure_confirmation(context: ProbeContext, plan: LrPlan, lr: float) -> Confirmation | None:
    """Run at learning rates around `lr`. Ctrl-C returns the finished runs, or None before the first one. Raises UsageError
    without validation data, and DataError if the loss of the untrained model is not finite."""
    finished: list[ConfirmRun] = []
    initial = math.nan
    try:
        task, is_held_out = _with_validation(context, plan)
        run = _new_run(context, task, context.seed)
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
    """Train `num_steps` steps at `lr` with evaluations in between, then restore `run`, also after an exception or Ctrl-C. The
    run ends early if an evaluation is not finite. Training losses are not read, because that would wait for the GPU."""
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
                run.train_step(next(batches))  # no variable keeps the batch, so that its memory is free
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
