"""Learning-rate schedules as pure functions of the step, so that a checkpoint stores only the step."""

from __future__ import annotations

import math

from probe.training.settings import LrSchedule

WARMUP_FRACTION = 0.1
"""Fraction of a run with schedule `linear` in which the learning rate rises (Goyal et al. 2017: 5 of 90 epochs)."""
ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = 1e-4 / 25
"""Smith & Topin 2018, with the defaults of torch.optim.lr_scheduler.OneCycleLR; momentum does not change."""


def lr_factor(lr_schedule: LrSchedule, step: int, num_steps: int) -> float:
    """Factor of the peak learning rate at `step` (from 0) of a run of `num_steps`, in (0, 1].

    After the planned end, the last value is kept.
    """
    if lr_schedule == "constant":
        return 1.0
    progress = min(step, num_steps - 1) / num_steps
    if lr_schedule == "cosine":
        return _cosine(1.0, 0.0, progress)
    if lr_schedule == "linear":
        warmup = WARMUP_FRACTION
        return (
            (progress + 1 / num_steps) / (warmup + 1 / num_steps)
            if progress < warmup
            else (1 - progress) / (1 - warmup)
        )
    if progress < ONE_CYCLE_RISE:
        return _cosine(ONE_CYCLE_START, 1.0, progress / ONE_CYCLE_RISE)
    return _cosine(1.0, ONE_CYCLE_END, (progress - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE))


def mean_lr_factor(lr_schedule: LrSchedule, num_steps: int) -> float:
    """Mean of `lr_factor` over a run of `num_steps`, in (0, 1]."""
    return sum(lr_factor(lr_schedule, step, num_steps) for step in range(num_steps)) / num_steps


def _cosine(start: float, end: float, progress: float) -> float:
    """From `start` to `end` along half a cosine (Loshchilov & Hutter 2017)."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
