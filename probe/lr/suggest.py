"""From the losses of a range test to a learning rate, or to the reason why there is none. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probe.lr.records import LrCurve, LrPoint, LrSuggestion
from probe.units import format_lr

DROP_SHARE = 0.9
"""The suggestion is the learning rate at which the smoothed loss has made this share of its total drop. Steeper points lie
lower and cost progress; the minimum lies where divergence begins."""
START_SHARE = 0.05
"""Of the planned steps: their mean is the level that the drop is counted from."""
LOW_DROP_SHARE = 0.8
"""Where the suggestion's band begins; it ends at the minimum."""
CAP_FACTOR = 4.0
"""Losses above this many times the first are cut before smoothing: the blow-up at the end must not reach back."""
SMOOTHING_SHARE = 7 / 300
"""Standard deviation of the smoothing Gaussian, as a share of the planned steps."""
MIN_STEPS = 30
"""Fewer steps cannot be smoothed and still tell learning rates apart."""
DIVERGENCE_FACTOR = 8.0
"""A range test ends when the running loss is this many times its minimum, and above the first loss."""
RUNNING_WEIGHT = 0.1
"""Of the newest loss in the running loss."""
NOISE_FACTOR = 5.0
"""A drop below this many standard errors of the smoothed curve is no drop: the smallest of its dozen independent values
lies 3 to 4 below their start by chance alone."""


@dataclass(frozen=True, slots=True)
class RunningLoss:
    """What the divergence check remembers: an exponential mean of the losses, its minimum, and the first loss."""

    mean: float
    lowest: float
    first: float

    @staticmethod
    def start(loss: float) -> RunningLoss:
        return RunningLoss(loss, loss, loss)

    def updated(self, loss: float) -> RunningLoss:
        mean = (1 - RUNNING_WEIGHT) * self.mean + RUNNING_WEIGHT * loss
        return RunningLoss(mean, min(self.lowest, mean), self.first)

    @property
    def diverged(self) -> bool:
        floor = max(self.lowest, 0.0)
        return self.mean > DIVERGENCE_FACTOR * floor and self.mean > self.first


def ramp(lowest: float, highest: float, num_steps: int) -> list[float]:
    """Learning rates of a range test: exponential from `lowest` to `highest`, both included (Smith 2017 grows linearly;
    a ramp over six decades has to be exponential)."""
    ratio = highest / lowest
    return [lowest * ratio ** (step / (num_steps - 1)) for step in range(num_steps - 1)] + [highest]


def smoothing_steps(num_steps: int) -> float:
    """Standard deviation of the Gaussian for a range test planned with `num_steps`, in steps."""
    return max(2.0, SMOOTHING_SHARE * num_steps)


def smooth(losses: Sequence[float], deviation: float) -> list[float]:
    """A Gaussian mean over neighbours up to three deviations away, its weights renormalised at the ends."""
    values = np.asarray(losses, dtype=np.float64)
    if len(values) == 0:
        return []
    reach = math.ceil(3 * deviation)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    padded = np.convolve(values, weights)[reach : reach + len(values)]
    mass = np.convolve(np.ones(len(values)), weights)[reach : reach + len(values)]
    return [float(value) for value in padded / mass]


def points_of(lrs: Sequence[float], losses: Sequence[float], num_steps: int) -> tuple[LrPoint, ...]:
    """The curve with its smoothed losses; losses are capped at CAP_FACTOR times the first before smoothing."""
    if not losses:
        return ()
    cap = losses[0] + (CAP_FACTOR - 1) * abs(losses[0])
    smoothed = smooth([min(loss, cap) for loss in losses], smoothing_steps(num_steps))
    return tuple(
        LrPoint(step=step, lr=lr, loss=loss, smoothed_loss=mean)
        for step, (lr, loss, mean) in enumerate(zip(lrs, losses, smoothed, strict=True))
    )


def suggest(
    curve: LrCurve, *, num_steps: int, optimizer: str = "the optimizer"
) -> tuple[LrSuggestion | None, list[str]]:
    """A suggestion and warnings; where there is no suggestion, the first warning says why and what to try.

    `num_steps` is the planned length of the ramp, which the curve may have ended short of.
    """
    points = curve.points
    if len(points) < MIN_STEPS:
        return None, [_too_short(curve, len(points))]
    smoothed = np.array([point.smoothed_loss for point in points])
    lowest = int(smoothed.argmin())
    deviation = smoothing_steps(num_steps)
    if lowest <= deviation:
        lr = format_lr(points[0].lr)
        return None, [f"The loss rises from the lowest learning rate ({lr}) on: start lower with --from."]
    start = float(smoothed[: max(1, int(START_SHARE * num_steps))].mean())
    drop = start - float(smoothed[lowest])
    if drop <= NOISE_FACTOR * _standard_error(points, smoothed, deviation):
        return None, [
            f"The loss does not fall by more than its own noise at any learning rate up to {format_lr(points[-1].lr)}: "
            f"check the data and the loss, try a larger batch or more --steps."
        ]
    warnings = []
    if curve.ended_by == "finished" and lowest >= len(points) - 1 - deviation:
        warnings.append(
            f"The loss still falls at the highest learning rate tested ({format_lr(points[-1].lr)}): "
            f"the suggestion is a lower bound; test further with --to."
        )
    if curve.ended_by == "interrupted":
        warnings.append("The range test was interrupted: the suggestion rests on part of the ramp.")
    lrs = [_lr_below(points, smoothed, start - share * drop) for share in (LOW_DROP_SHARE, DROP_SHARE)]
    return LrSuggestion(low=lrs[0], lr=lrs[1], high=points[lowest].lr), warnings


def _too_short(curve: LrCurve, num_points: int) -> str:
    if curve.ended_by == "interrupted":
        return f"The range test was interrupted after {num_points} steps, too few to suggest a learning rate from."
    if curve.ended_by == "non_finite" and num_points == 0:
        return "The loss is not finite at the very first step: check the data for NaN and the loss for log(0) or 0/0."
    why = "stopped being finite" if curve.ended_by == "non_finite" else "blew up"
    return f"The loss {why} after {num_points} steps: start lower with --from, or clip the gradient."


def _lr_below(points: tuple[LrPoint, ...], smoothed: np.ndarray[Any, Any], level: float) -> float:
    """Where the smoothed loss first is at most `level`, interpolated in ln(lr) between steps."""
    after = int(np.argmax(smoothed <= level))
    if after == 0:
        return points[0].lr
    above, below = float(smoothed[after - 1]), float(smoothed[after])
    share = (above - level) / (above - below) if above > below else 1.0
    low, high = math.log(points[after - 1].lr), math.log(points[after].lr)
    return min(points[after].lr, max(points[after - 1].lr, math.exp(low + share * (high - low))))


def _standard_error(points: tuple[LrPoint, ...], smoothed: np.ndarray[Any, Any], deviation: float) -> float:
    """Of the smoothed curve: the spread of single losses around it before the blow-up, less what smoothing averages away.

    The spread is taken from differences of neighbours (von Neumann 1941), which a trend does not inflate; a Gaussian of
    deviation s averages about 2 sqrt(pi) s values.
    """
    losses = np.array([point.loss for point in points[: int(smoothed.argmin()) + 1]])
    spread = float(np.median(np.abs(np.diff(losses)))) / (0.6745 * math.sqrt(2))
    return spread / math.sqrt(2 * math.sqrt(math.pi) * deviation)
