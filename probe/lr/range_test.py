"""The range test itself: one training step per learning rate (Smith 2017, "Cyclical Learning Rates for Training Neural
Networks", section 3.3), after which the run is as if nothing had happened."""

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
"""Losses are read, and observers told, once a block: reading every one would make a GPU wait for every step."""


def run_range_test(
    run: TrainingRun,
    *,
    lowest_lr: float,
    highest_lr: float,
    num_steps: int,
    seed: int,
    part: str = "range test",
    observer: Callable[[Any], None] | None = None,
) -> LrCurve:
    """Train `num_steps` steps while the learning rate climbs, or until the loss diverges; then put `run` back.

    Divergence is noticed at the end of a block of STEPS_PER_BLOCK; the steps after it are not part of the curve. Model,
    optimizer, scaler and every random generator are restored, also when the training step raises. Ctrl-C ends the curve as
    interrupted.
    """
    before = run.state()
    watch = _Watch(num_steps, part, observer)
    try:
        with matmul_precision(run.settings.precision):
            batches = run.batches()
            for lr in ramp(lowest_lr, highest_lr, num_steps):
                run.set_lr(lr)
                watch.add(lr, run.train_step(next(batches)))  # not kept here: a batch makes room for the next one
                if watch.ended_by is not None:
                    break
            watch.read()
    except KeyboardInterrupt:
        watch.interrupt()
    finally:
        run.restore(before)
    return LrCurve(
        seed=seed,
        points=points_of(watch.lrs, watch.losses, num_steps),
        ended_by=watch.ended_by or "finished",
        num_extra_steps=watch.num_steps - len(watch.losses),
    )


class _Watch:
    """Collects losses on the device, reads them block by block, and says when the test is over."""

    def __init__(self, planned_steps: int, part: str, observer: Callable[[Any], None] | None) -> None:
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self.ended_by: CurveEnd | None = None
        self.num_steps = 0
        """Made, including those after the end of the curve."""
        self._planned_steps = planned_steps
        self._part = part
        self._observer = observer
        self._unread: list[tuple[float, Tensor]] = []
        self._running: RunningLoss | None = None

    def add(self, lr: float, loss: Tensor) -> None:
        self.num_steps += 1
        self._unread.append((lr, loss))
        if len(self._unread) == STEPS_PER_BLOCK:
            self.read()

    def read(self) -> None:
        """Take over what is unread, up to the loss that ends the test."""
        if not self._unread:
            return
        lrs = [lr for lr, _ in self._unread]
        losses = torch.stack([loss for _, loss in self._unread]).tolist()
        self._unread.clear()
        for lr, loss in zip(lrs, losses, strict=True):
            if self.ended_by is None:
                self._take(lr, loss)
        if self._observer is not None and self.losses:
            self._observer(
                LrProgress(
                    step=self.num_steps,
                    num_steps=self._planned_steps,
                    lr=self.lrs[-1],
                    loss=self.losses[-1],
                    part=self._part,
                )
            )

    def interrupt(self) -> None:
        self._observer = None
        self.read()
        self.ended_by = "interrupted"

    def _take(self, lr: float, loss: float) -> None:
        if not math.isfinite(loss):
            self.ended_by = "non_finite"
            return
        self.lrs.append(lr)
        self.losses.append(loss)
        self._running = RunningLoss.start(loss) if self._running is None else self._running.updated(loss)
        if self._running.diverged:
            self.ended_by = "diverged"
