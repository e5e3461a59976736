"""The curve of a range test: its learning rates, its end, its smoothing, and the mean of several curves. Pure."""

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
"""Losses are capped at this multiple of the first loss before smoothing, so that divergence does not spread to lower
learning rates."""
SMOOTHING_FRACTION = 7 / 300
"""Standard deviation of the smoothing Gaussian, as a fraction of the planned steps."""
START_FRACTION = 0.05
"""Fraction of the planned steps whose mean loss is the level that a drop is measured from."""
DIVERGENCE_FACTOR = 8.0
"""A range test ends when the running loss exceeds this multiple of its minimum and the first loss."""
RUNNING_WEIGHT = 0.1
"""Weight of the newest loss in the running loss."""


@dataclass(frozen=True, slots=True)
class RunningLoss:
    """State of the divergence check: an exponential moving average of the losses, its minimum, and the first loss."""

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
    """Smoothed losses of one range test, or the mean of several."""

    lrs: Floats
    """Learning rates, shape (steps,), increasing."""
    losses: Floats
    """Smoothed losses, shape (steps,)."""
    standard_error: float
    """Standard error of a smoothed loss, in units of the loss."""
    num_steps: int
    """Planned number of steps. The curve is shorter if the range test ended early."""

    @property
    def lowest(self) -> int:
        """Index of the lowest loss."""
        return int(self.losses.argmin())

    @property
    def start_loss(self) -> float:
        """Loss of the untrained model: the mean over the first steps."""
        return float(self.losses[: max(1, int(START_FRACTION * self.num_steps))].mean())

    @property
    def drop(self) -> float:
        """Difference between the start loss and the lowest loss."""
        return self.start_loss - float(self.losses[self.lowest])

    def lr_at_drop(self, fraction: float) -> float:
        """Return the learning rate at which the loss first reaches `fraction` of its drop, interpolated in ln(lr)."""
        level = self.start_loss - fraction * self.drop
        after = int(np.argmax(self.losses <= level))
        if after == 0:
            return float(self.lrs[0])
        above, below = float(self.losses[after - 1]), float(self.losses[after])
        weight = (above - level) / (above - below) if above > below else 1.0
        low, high = float(self.lrs[after - 1]), float(self.lrs[after])
        return min(high, max(low, low * math.exp(weight * math.log(high / low))))


def ramp(lowest: float, highest: float, num_steps: int) -> list[float]:
    """Return the learning rates of a range test: exponential from `lowest` to `highest`, both included. Smith 2017 uses a
    linear ramp; a ramp over six orders of magnitude has to be exponential."""
    ratio = highest / lowest
    return [lowest * ratio ** (step / (num_steps - 1)) for step in range(num_steps - 1)] + [highest]


def smoothing_steps(num_steps: int) -> float:
    """Return the standard deviation of the smoothing Gaussian in steps, for a range test of `num_steps`."""
    return max(2.0, SMOOTHING_FRACTION * num_steps)


def smooth(losses: Sequence[float], deviation: float) -> list[float]:
    """Return Gaussian means of one or more losses within three deviations. At the ends, the weights are renormalized."""
    values = np.asarray(losses, dtype=np.float64)
    reach = math.ceil(3 * deviation)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    weighted = np.convolve(values, weights)[reach : reach + len(values)]
    mass = np.convolve(np.ones(len(values)), weights)[reach : reach + len(values)]
    return [float(value) for value in weighted / mass]


def points_of(lrs: Sequence[float], losses: Sequence[float], num_steps: int) -> tuple[LrPoint, ...]:
    """Return the points of a curve with their smoothed losses. Losses are capped before smoothing."""
    if not losses:
        return ()
    cap = _cap(losses[0])
    smoothed = smooth([min(loss, cap) for loss in losses], smoothing_steps(num_steps))
    return tuple(
        LrPoint(step=step, lr=lr, loss=loss, smoothed_loss=mean)
        for step, (lr, loss, mean) in enumerate(zip(lrs, losses, smoothed, strict=True))
    )


def mean_curve(curves: Sequence[LrCurve], num_steps: int) -> MeanCurve:
    """Return the mean of curves with the same learning rates and at least one point each. After the end of a shorter curve, its
    cap takes the place of its loss: it diverged, which a mean over the other curves would hide."""
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
    """Return the standard error of the smoothed curve before its minimum."""
    smoothed = [point.smoothed_loss for point in curve.points]
    losses = np.array([point.loss for point in curve.points[: int(np.argmin(smoothed)) + 1]])
    if len(losses) < 2:
        return 0.0
    # Noise of single losses from differences of neighbors (von Neumann 1941), which a trend does not inflate: the median
    # absolute deviation of a Gaussian is 0.6745 sigma, and a difference has sqrt(2) times the deviation of a loss.
    noise = float(np.median(np.abs(np.diff(losses)))) / (0.6745 * math.sqrt(2))
    # A Gaussian mean of deviation s averages about 2 sqrt(pi) s values.
    return noise / math.sqrt(2 * math.sqrt(math.pi) * deviation)
