"""One range test: a training step for each learning rate of a ramp (Smith 2017, "Cyclical Learning Rates for Training Neural
Networks", section 3.3). The training run is restored afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from probe.lr.curve import RunningLoss, points_of, ramp
from probe.lr.records import CurveEnd, LrCurve, LrProgress
from probe.training.run import TrainingRun
from probe.training.step import matmul_precision

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
    """Train `num_steps` steps with increasing learning rates, or until the loss diverges, then restore `run`.

    Divergence is detected at the end of a block of steps; steps after it are not part of the curve. Model, optimizer, scaler
    and random generators are restored, also if the training step raises. Ctrl-C ends the curve as interrupted.
    """
    before = run.state()
    losses = _LossReader(num_steps, phase, observer)
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
    except KeyboardInterrupt:
        losses.interrupt()
    finally:
        run.restore(before)
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
