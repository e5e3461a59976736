"""From the losses of a range test to a learning rate, or to the reason why there is none. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from probe.lr.curve import START_SHARE, mean_curve, smoothing_steps
from probe.lr.records import LrCurve, LrSuggestion
from probe.units import format_lr

DROP_SHARE = 0.9
"""The suggestion is the learning rate at which the smoothed loss has made this share of its total drop. Steeper points lie
lower and cost progress; the minimum lies where divergence begins."""
BAND_SHARES = (0.85, 0.95)
"""The good band reaches from one of these shares of the drop to the other: on tasks whose truth is known, either end lost at
most 5 % of the attainable decrease in four of five cases (benchmarks/lr_regret.py)."""
FREE_PASSES = 7.0
"""Training that goes over its data more often than this, in passes at the peak learning rate, gets a learning rate that is
lower in proportion: distance (learning rate times steps) beyond it tends to overfit rather than to learn."""
MIN_STEPS = 30
"""Fewer steps cannot be smoothed and still tell learning rates apart."""
NOISE_FACTOR = 5.0
"""A drop below this many standard errors of the smoothed curve is no drop: the smallest of its dozen independent values
lies 3 to 4 below their start by chance alone."""


def suggest(
    curves: Sequence[LrCurve], *, num_steps: int, passes: float = 0.0, lowest_lr: float = 0.0
) -> tuple[LrSuggestion | None, list[str]]:
    """A suggestion from the mean of `curves`, and warnings; where there is none, the first warning says why and what to try.

    Args:
        num_steps: the planned length of the ramp, which a curve may have ended short of.
        passes: how often the planned training goes over its data, times the mean of its schedule.
        lowest_lr: nothing below is suggested.
    """
    short = [curve for curve in curves if len(curve.points) < MIN_STEPS]
    if short:
        return None, [_too_short(short[0])]
    curve = mean_curve(curves, num_steps)
    deviation = smoothing_steps(num_steps)
    first_lr, last_lr = float(curve.lrs[0]), float(curve.lrs[-1])
    if curve.lowest <= deviation:
        return None, [
            f"The loss rises from the lowest learning rate ({format_lr(first_lr)}) on: start lower with --from."
        ]
    if curve.drop <= NOISE_FACTOR * curve.standard_error:
        return None, [
            f"The loss does not fall by more than its own noise at any learning rate up to {format_lr(last_lr)}: "
            f"check the data and the loss, try a larger batch or more --steps."
        ]
    # Within the steps that the level of the start is taken from, as far as smoothing reaches.
    if curve.lr_at_drop(DROP_SHARE) <= float(curve.lrs[int(START_SHARE * num_steps + deviation)]):
        return None, [
            f"The loss has made most of its drop at the lowest learning rates ({format_lr(first_lr)} and a little above): "
            "start lower with --from."
        ]
    warnings = []
    if curve.lowest >= len(curve.lrs) - 1 - deviation and all(one.ended_by == "finished" for one in curves):
        warnings.append(
            f"The loss still falls at the highest learning rate tested ({format_lr(last_lr)}): "
            f"the suggestion is a lower bound; test further with --to."
        )
    if any(one.ended_by == "interrupted" for one in curves):
        warnings.append("The range test was interrupted: the suggestion rests on part of the ramp.")
    shift = passes_factor(passes)
    if shift * curve.lr_at_drop(DROP_SHARE) < lowest_lr:
        warnings.append(
            f"So long a training asks for less than the lowest learning rate tested ({format_lr(lowest_lr)}): "
            "the suggestion is an upper bound; start lower with --from."
        )
    low, lr, high = (
        max(lowest_lr, shift * curve.lr_at_drop(share)) for share in (BAND_SHARES[0], DROP_SHARE, BAND_SHARES[1])
    )
    return LrSuggestion(low=low, lr=lr, high=high), warnings


def passes_factor(passes: float) -> float:
    """What a suggestion is multiplied by for training that goes over its data `passes` times; at most 1."""
    return min(1.0, FREE_PASSES / passes) if passes > 0 else 1.0


def _too_short(curve: LrCurve) -> str:
    num_points = len(curve.points)
    if curve.ended_by == "interrupted":
        return f"The range test was interrupted after {num_points} steps, too few to suggest a learning rate from."
    if curve.ended_by == "non_finite" and num_points == 0:
        return "The loss is not finite at the very first step: check the data for NaN and the loss for log(0) or 0/0."
    why = "stopped being finite" if curve.ended_by == "non_finite" else "blew up"
    return f"The loss {why} after {num_points} steps: start lower with --from, or clip the gradient."
