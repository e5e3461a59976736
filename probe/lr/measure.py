"""The measurements of an LR probe: range tests (Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section
3.3), and runs at constant learning rates. The model is restored after each."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from probe.device.failures import classify_failure, guarded
from probe.errors import ProbeError, first_line
from probe.lr.confirm import steps_to_evaluate
from probe.lr.curve import RunningLoss, points_of, ramp
from probe.lr.records import ConfirmRun, CurveEnd, LossAt, LrCurve, LrProgress, Raised
from probe.lr.suggest import MIN_STEPS
from probe.system.cleanup import cleanup
from probe.system.gpu_errors import sticky_gpu_error, with_sticky_cause
from probe.training.run import TrainingRun
from probe.training.step import matmul_precision
from probe.units import format_lr

Observer = Callable[[Any], None]

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
    observer: Observer | None = None,
) -> LrCurve:
    """Train `num_steps` steps with increasing learning rates, until the loss diverges or the task's code raises an error, then
    restore `run`. The end is detected at the end of a block of steps; steps after it are not part of the curve. Errors in the
    first MIN_STEPS steps and a lack of memory pass. Ctrl-C ends the curve as interrupted."""
    before = run.state()
    batches = run.batches()
    losses = _LossReader(num_steps, phase, observer)

    def step(lr: float) -> None:
        run.set_lr(lr)
        losses.add(
            lr, run.train_step(next(batches))
        )  # no variable keeps the batch, to free its memory for the next one

    raised: Raised | None = None
    try:
        with cleanup(_restore, run, before), matmul_precision(run.settings.precision):
            for lr in ramp(lowest_lr, highest_lr, num_steps):
                raised = guarded(partial(step, lr), partial(losses.failure, lr))
                losses.report()
                if raised is not None or losses.ended_by is not None:
                    break
            else:
                raised = guarded(losses.read, partial(losses.failure, highest_lr))
                losses.report()
    except KeyboardInterrupt:
        losses.interrupt()
        _restore(run, before)  # once more, in case that it was interrupted
    return LrCurve(
        seed=seed,
        points=points_of(losses.lrs, losses.losses, num_steps),
        ended_by="raised" if raised is not None else losses.ended_by or "finished",
        raised=raised,
        num_extra_steps=losses.num_steps - len(losses.losses),
    )


class _LossReader:
    """Collects losses on the device, reads them in blocks, and detects the end of the range test."""

    def __init__(self, planned_steps: int, phase: str, observer: Observer | None) -> None:
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self.ended_by: CurveEnd | None = None
        self.num_steps = 0
        """Number of steps made, including those after the end of the curve."""
        self._planned_steps = planned_steps
        self._phase = phase
        self._observer = observer
        self._unread: list[tuple[float, Tensor]] = []
        self._num_reported = 0
        self._running: RunningLoss | None = None

    def add(self, lr: float, loss: Tensor) -> None:
        self.num_steps += 1
        self._unread.append((lr, loss))
        if len(self._unread) == STEPS_PER_BLOCK:
            self.read()

    def read(self) -> None:
        """Read the losses of the last block, up to the one that ends the range test."""
        if not self._unread:
            return
        lrs = [lr for lr, _ in self._unread]
        losses = [loss.item() for _, loss in self._unread]
        self._unread.clear()
        for lr, loss in zip(lrs, losses, strict=True):
            if self.ended_by is None:
                self._append(lr, loss)

    def report(self) -> None:
        """Report the losses that were read since the last report."""
        if self._observer is None or len(self.losses) == self._num_reported:
            return
        new, self._num_reported = tuple(self.losses[self._num_reported :]), len(self.losses)
        self._observer(
            LrProgress(
                step=self.num_steps,
                num_steps=self._planned_steps,
                lr=self.lrs[-1],
                loss=self.losses[-1],
                phase=self._phase,
                losses=new,
            )
        )

    def failure(self, lr: float, error: Exception) -> Raised | None:
        """The end of the range test that an error at `lr` stands for; None if it has nothing to do with the learning rate."""
        raised = raised_at(lr, error)
        if raised is not None and sticky_gpu_error() is None:
            self.read()
        return raised if len(self.losses) >= MIN_STEPS else None

    def interrupt(self) -> None:
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


def raised_at(lr: float, error: Exception) -> Raised | None:
    """An error that `lr` may have caused, like a model's check of its outputs. None for probe's own and a lack of memory."""
    if isinstance(error, ProbeError) or classify_failure(error) is not None:
        return None
    name, said = type(error).__name__, first_line(error)
    text, hint = with_sticky_cause(name if said == name else f"{name}: {said}")
    return Raised(lr=lr, error=text, hint=hint)


def _restore(run: TrainingRun, state: dict[str, Any]) -> None:
    """Restore a run, unless an error of the GPU has ended all runs in this process."""
    if sticky_gpu_error() is None:
        run.restore(state)


def train_at(run: TrainingRun, lr: float, num_steps: int) -> None:
    """Train `num_steps` steps at `lr`, and pass an error of the task's code."""
    run.set_lr(lr)
    with matmul_precision(run.settings.precision):
        batches = run.batches()
        for number in range(1, num_steps + 1):
            loss = run.train_step(next(batches))
            if number % STEPS_PER_BLOCK == 0 or number == num_steps:
                loss.item()  # waits for the GPU, whose errors arrive late


def run_at(
    run: TrainingRun, lr: float, num_steps: int, *, errors_pass: bool = True, observer: Observer | None = None
) -> ConfirmRun:
    """Train `num_steps` steps at `lr` with evaluations in between, then restore `run`, also after an exception or Ctrl-C. The
    run ends early if an evaluation is not finite or, unless `errors_pass`, at an error that `lr` may have caused. Training
    losses are not read, because that would wait for the GPU."""
    evaluated_steps = set(steps_to_evaluate(num_steps))
    evaluations: list[LossAt] = []
    batches = run.batches()

    def step(number: int) -> float | None:
        run.train_step(next(batches))  # no variable keeps the batch, so that its memory is free
        return run.evaluate(run.task.val).loss if number in evaluated_steps else None

    done = 0
    ended: float | Raised | None = None
    with cleanup(_restore, run, run.state()), matmul_precision(run.settings.precision):
        run.set_lr(lr)
        for done in range(1, num_steps + 1):
            ended = guarded(partial(step, done), lambda error: None if errors_pass else raised_at(lr, error))
            if ended is None:
                continue
            if isinstance(ended, Raised) or not math.isfinite(ended):
                break
            evaluations.append(LossAt(step=done, loss=ended))
            if observer is not None:
                phase = f"run at {format_lr(lr)}"
                observer(
                    LrProgress(step=done, num_steps=num_steps, lr=lr, loss=ended, phase=phase, is_range_test=False)
                )
    return ConfirmRun(
        lr=lr,
        num_steps=done,
        evaluations=tuple(evaluations),
        finished=len(evaluations) == len(evaluated_steps),
        raised=ended if isinstance(ended, Raised) else None,
    )
