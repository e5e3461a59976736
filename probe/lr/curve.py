"""The curve of a range test: its ramp, its end, its smoothing, and the mean of several. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probe.lr.records import LrCurve, LrPoint

Floats = NDArray[np.floating[Any]]

CAP_FACTOR = 4.0
"""Losses above this many times the first are cut before smoothing: the blow-up at the end must not reach back."""
SMOOTHING_SHARE = 7 / 300
"""Standard deviation of the smoothing Gaussian, as a share of the planned steps."""
START_SHARE = 0.05
"""Of the planned steps: their mean is the level that a drop is counted from."""
DIVERGENCE_FACTOR = 8.0
"""A range test ends when the running loss is this many times its minimum, and above the first loss."""
RUNNING_WEIGHT = 0.1
"""Of the newest loss in the running loss."""


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


@dataclass(frozen=True, slots=True, eq=False)
class MeanCurve:
    """The smoothed losses of one range test, or of several averaged step by step."""

    lrs: Floats
    losses: Floats
    standard_error: float
    """Of a smoothed loss, in units of the loss."""
    num_steps: int
    """Planned length of the ramp, which the curve may have ended short of."""

    @property
    def lowest(self) -> int:
        """The step with the lowest loss."""
        return int(self.losses.argmin())

    @property
    def start_loss(self) -> float:
        """The level before anything was learned: the mean over the first steps."""
        return float(self.losses[: max(1, int(START_SHARE * self.num_steps))].mean())

    @property
    def drop(self) -> float:
        """From the level of the start to the lowest loss."""
        return self.start_loss - float(self.losses[self.lowest])

    def lr_at_drop(self, share: float) -> float:
        """Where the loss has first made `share` of its drop, interpolated in ln(lr) between steps."""
        level = self.start_loss - share * self.drop
        after = int(np.argmax(self.losses <= level))
        if after == 0:
            return float(self.lrs[0])
        above, below = float(self.losses[after - 1]), float(self.losses[after])
        part = (above - level) / (above - below) if above > below else 1.0
        low, high = float(self.lrs[after - 1]), float(self.lrs[after])
        return min(high, max(low, low * math.exp(part * math.log(high / low))))


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
    cap = _cap(losses[0])
    smoothed = smooth([min(loss, cap) for loss in losses], smoothing_steps(num_steps))
    return tuple(
        LrPoint(step=step, lr=lr, loss=loss, smoothed_loss=mean)
        for step, (lr, loss, mean) in enumerate(zip(lrs, losses, smoothed, strict=True))
    )


def mean_curve(curves: Sequence[LrCurve], num_steps: int) -> MeanCurve:
    """The mean of `curves`, which had one ramp in common and at least a point each.

    Where one has ended and another goes on, the one that ended counts with its cap: it had blown up there, and a mean over
    the survivors would not say so.
    """
    longest = max((curve.points for curve in curves), key=len)
    rows = np.empty((len(curves), len(longest)))
    for row, curve in zip(rows, curves, strict=True):
        smoothed = [point.smoothed_loss for point in curve.points]
        row[: len(smoothed)] = smoothed
        row[len(smoothed) :] = max(_cap(curve.points[0].loss), *smoothed)
    errors = [_standard_error(curve, smoothing_steps(num_steps)) for curve in curves]
    return MeanCurve(
        lrs=np.array([point.lr for point in longest]),
        losses=rows.mean(0),
        standard_error=math.sqrt(sum(error**2 for error in errors)) / len(curves),
        num_steps=num_steps,
    )


def _cap(first_loss: float) -> float:
    return first_loss + (CAP_FACTOR - 1) * abs(first_loss)


def _standard_error(curve: LrCurve, deviation: float) -> float:
    """Of the smoothed curve: the spread of single losses around it before the blow-up, less what smoothing averages away.

    The spread is taken from differences of neighbours (von Neumann 1941), which a trend does not inflate; a Gaussian of
    deviation s averages about 2 sqrt(pi) s values.
    """
    smoothed = [point.smoothed_loss for point in curve.points]
    losses = np.array([point.loss for point in curve.points[: int(np.argmin(smoothed)) + 1]])
    if len(losses) < 2:
        return 0.0
    spread = float(np.median(np.abs(np.diff(losses)))) / (0.6745 * math.sqrt(2))
    return spread / math.sqrt(2 * math.sqrt(math.pi) * deviation)
