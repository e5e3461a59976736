"""The range test itself: one training step per learning rate (Smith 2017, "Cyclical Learning Rates for Training Neural
Networks", section 3.3), after which the run is as if nothing had happened."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from probe.lr.records import CurveEnd, LrCurve, LrProgress
from probe.lr.suggest import RunningLoss, points_of, ramp
from probe.training.run import TrainingRun
from probe.training.step import matmul_precision

STEPS_PER_BLOCK = 10
"""How often observers are told."""


def run_range_test(
    run: TrainingRun,
    *,
    lowest_lr: float,
    highest_lr: float,
    num_steps: int,
    seed: int,
    observer: Callable[[Any], None] | None = None,
) -> LrCurve:
    """Train `num_steps` steps while the learning rate climbs, or until the loss diverges; then put `run` back.

    Model, optimizer, scaler and every random generator are restored, also when the training step raises. Ctrl-C ends the
    curve as interrupted.
    """
    lrs: list[float] = []
    losses: list[float] = []
    before = run.state()
    running: RunningLoss | None = None
    ended_by: CurveEnd = "finished"
    try:
        with matmul_precision(run.settings.precision):
            for lr, batch in zip(ramp(lowest_lr, highest_lr, num_steps), run.batches(), strict=False):
                run.set_lr(lr)
                loss = run.train_step(batch).item()
                if not math.isfinite(loss):
                    ended_by = "non_finite"
                    break
                lrs.append(lr)
                losses.append(loss)
                running = RunningLoss.start(loss) if running is None else running.updated(loss)
                if observer is not None and len(losses) % STEPS_PER_BLOCK == 0:
                    observer(LrProgress(step=len(losses), num_steps=num_steps, lr=lr, loss=loss))
                if running.diverged:
                    ended_by = "diverged"
                    break
    except KeyboardInterrupt:
        ended_by = "interrupted"
    finally:
        run.restore(before)
    return LrCurve(seed=seed, points=points_of(lrs, losses, num_steps), ended_by=ended_by)
