"""The measurements of an LR probe: range tests, and runs at constant learning rates. Everything is put back after each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from probe.device.protocol import Device
from probe.errors import DataError, UsageError
from probe.loading.dataset import hold_out, num_samples, take_samples
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

HELD_OUT_SHARE = 0.2
MIN_EVALUATED = 512
"""Samples of the validation part that are evaluated at least, where it has them."""
EVALUATED_SHARE = 0.25
"""Of the samples that a run trains on, this share is evaluated each time, or MIN_EVALUATED: a large validation part must not
cost more than the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is trained, where, and who watches."""

    task: Task
    settings: TrainerSettings
    device: Device
    seed: int
    observer: Callable[[Any], None] | None

    def tell(self, record: Any) -> None:
        if self.observer is not None:
            self.observer(record)


def measure_curves(subject: Subject, plan: LrPlan) -> tuple[LrCurve, ...]:
    """The range tests, the first with the seed asked for. Ctrl-C ends them with the curve that it cut short."""
    curves: list[LrCurve] = []
    for number in range(plan.repeats):
        seed = subject.seed if number == 0 else derive_seed(subject.seed, "repeat", number)
        curve = run_range_test(
            _start(subject, subject.task, seed),
            lowest_lr=plan.lowest_lr,
            highest_lr=plan.highest_lr,
            num_steps=plan.ramp_steps,
            seed=seed,
            part="range test" if plan.repeats == 1 else f"range test {number + 1} of {plan.repeats}",
            observer=subject.observer,
        )
        curves.append(curve)
        subject.tell(curve)
        if curve.ended_by == "interrupted":
            break
    return tuple(curves)


def measure_confirmation(subject: Subject, plan: LrPlan, lr: float) -> Confirmation | None:
    """Runs around `lr`; on Ctrl-C those that were finished, None before the first.

    Raises UsageError where no validation part can be held out.
    """
    task, held_out = _with_validation(subject, plan)
    run = _start(subject, task, subject.seed)
    finished: list[ConfirmRun] = []
    initial = math.nan
    try:
        initial = run.evaluate(task.val).loss
        if not math.isfinite(initial):
            raise DataError("The loss on the validation data is not finite before any training: check it for NaN.")
        for wanted in lrs_around(lr, lowest=plan.lowest_lr, highest=plan.highest_lr):
            made = run_at(run, wanted, plan.run_steps, observer=subject.observer)
            finished.append(made)
            subject.tell(made)
    except KeyboardInterrupt:
        if not finished:
            return None
    return Confirmation(
        measured_on="held_out" if held_out else "validation",
        num_samples=num_samples(task.val),
        initial_loss=initial,
        planned_steps=plan.run_steps,
        runs=tuple(finished),
    )


def run_at(run: TrainingRun, lr: float, num_steps: int, *, observer: Callable[[Any], None] | None = None) -> ConfirmRun:
    """Train `num_steps` steps at `lr`, the validation loss taken on the way, then put `run` back.

    The run ends early where an evaluation is not finite; training losses are not read, so that nothing waits for a GPU
    between evaluations. Everything is restored, also after an exception or Ctrl-C.
    """
    wanted = set(steps_to_evaluate(num_steps))
    taken: list[LossAt] = []
    before = run.state()
    done = 0
    finished = True
    try:
        run.set_lr(lr)
        with matmul_precision(run.settings.precision):
            batches = run.batches()
            for done in range(1, num_steps + 1):
                run.train_step(next(batches))  # not kept here: a batch makes room for the next one
                if done not in wanted:
                    continue
                loss = run.evaluate(run.task.val).loss
                if not math.isfinite(loss):
                    finished = False
                    break
                taken.append(LossAt(step=done, loss=loss))
                if observer is not None:
                    part = f"run at {format_lr(lr)}"
                    observer(
                        LrProgress(step=done, num_steps=num_steps, lr=lr, loss=loss, part=part, is_range_test=False)
                    )
    finally:
        run.restore(before)
    return ConfirmRun(lr=lr, num_steps=done, evaluations=tuple(taken), finished=finished)


def _start(subject: Subject, task: Task, seed: int) -> TrainingRun:
    # Weights that became NaN show in the next loss; stopping before them would hide that from the evaluations.
    return TrainingRun(task, subject.settings, device=subject.device, seed=seed, stops_at_nan=False)


def _with_validation(subject: Subject, plan: LrPlan) -> tuple[Task, bool]:
    """The task with at most as much validation data as the runs justify, and whether it had to be held out."""
    held_out = subject.task.val is None
    try:
        task = hold_out(subject.task, fraction=HELD_OUT_SHARE, seed=derive_seed(subject.seed, "validation"))
    except DataError as error:
        raise UsageError(
            f"Confirming needs validation data, and none can be held out: {error}",
            hint="Give the Task a val=, or leave out --confirm.",
        ) from None
    trained_on = plan.run_steps * subject.settings.batch_size
    count = max(MIN_EVALUATED, round(EVALUATED_SHARE * trained_on))
    val = take_samples(task.val, count, seed=derive_seed(subject.seed, "evaluated"))
    return replace(task, val=val), held_out
