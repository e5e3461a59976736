"""From the losses of range tests to a learning rate, or to the reason why there is none; and the picks of other finders. Pure.

The rules of other finders are applied to probe's smoothed curve, so that the picks differ by rule and not by smoothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from probe.lr.curve import START_FRACTION, MeanCurve, mean_curve, smoothing_steps
from probe.lr.records import FinderPicks, LrCurve, LrSuggestion, Raised
from probe.units import format_lr

DROP_FRACTION = 0.9
"""The suggestion is the learning rate at which the smoothed loss has made this fraction of its total drop. The steepest point
has a lower learning rate and makes less progress; divergence begins at the minimum."""
BAND_FRACTIONS = (0.85, 0.95)
"""The good range is between these fractions of the drop. On tasks with known best learning rates, both ends gave up at most
5 % of the achievable loss reduction in four of five cases (benchmarks/lr_regret.py)."""
FREE_PASSES = 7.0
"""Passes over the data at the peak learning rate, above which the suggestion is lowered in proportion: more effective steps
(steps times learning rate) tend to overfit rather than to learn."""
MIN_STEPS = 30
"""With fewer steps, a smoothed curve cannot tell learning rates apart."""
NOISE_FACTOR = 5.0
"""A drop must exceed this many standard errors of the smoothed curve: the smallest of its dozen independent values is 3 to 4
below their start by chance."""


def suggest(
    curves: Sequence[LrCurve], *, num_steps: int, passes: float = 0.0, lowest_lr: float = 0.0
) -> tuple[LrSuggestion | None, list[str]]:
    """Return the suggestion of the mean curve and warnings. Without a suggestion, the first warning says why. `passes` are
    those of the planned training over its data, times the mean factor of its schedule; 0 if unbounded."""
    used = usable_curves(curves)
    short = [curve for curve in used if len(curve.points) < MIN_STEPS]
    if short:
        return None, [_too_short(short[0])]
    curve = mean_curve(used, num_steps)
    reason = _no_suggestion(curve)
    if reason is not None:
        return None, [reason, *_errors(curves)]
    warnings = _warnings(curves, curve)
    factor = passes_factor(passes)
    if factor * curve.lr_at_drop(DROP_FRACTION) < lowest_lr:
        warnings.append(
            f"For such a long training, the best learning rate is below the lowest one tested ({format_lr(lowest_lr)}): "
            "the suggestion is an upper bound; start lower with --from."
        )
    low, lr, high = (
        max(lowest_lr, factor * curve.lr_at_drop(fraction))
        for fraction in (BAND_FRACTIONS[0], DROP_FRACTION, BAND_FRACTIONS[1])
    )
    return LrSuggestion(low=low, lr=lr, high=high), warnings


def usable_curves(curves: Sequence[LrCurve]) -> Sequence[LrCurve]:
    """Return the curves without one that Ctrl-C has cut off, if there are others: its loss did not diverge at its end."""
    return [curve for curve in curves if curve.ended_by != "interrupted"] or curves


def passes_factor(passes: float) -> float:
    """Return the factor in (0, 1] that lowers a suggestion for a training with this many passes over its data."""
    return min(1.0, FREE_PASSES / passes) if passes > 0 else 1.0


def _no_suggestion(curve: MeanCurve) -> str | None:
    """Return why the curve gives no suggestion and what to try, or None if it gives one."""
    deviation = smoothing_steps(curve.num_steps)
    first_lr, last_lr = format_lr(float(curve.lrs[0])), format_lr(float(curve.lrs[-1]))
    if curve.lowest <= deviation:
        return f"The loss rises from the lowest learning rate ({first_lr}) on: start lower with --from."
    if curve.drop <= NOISE_FACTOR * curve.standard_error:
        return (
            f"At no learning rate up to {last_lr} does the loss fall by more than its noise: "
            "check the data and the loss, or use a larger batch or more --steps."
        )
    # The start level is a mean over the first steps, and smoothing spreads a drop by `deviation` steps.
    if curve.lr_at_drop(DROP_FRACTION) <= float(curve.lrs[int(START_FRACTION * curve.num_steps + deviation)]):
        return f"The loss drops already at the lowest learning rates (from {first_lr}): start lower with --from."
    return None


def _warnings(curves: Sequence[LrCurve], curve: MeanCurve) -> list[str]:
    warnings = []
    falls_to_the_end = curve.lowest >= len(curve.lrs) - 1 - smoothing_steps(curve.num_steps)
    if falls_to_the_end and all(one.ended_by == "finished" for one in curves):
        warnings.append(
            f"The loss still falls at the highest learning rate tested ({format_lr(float(curve.lrs[-1]))}): "
            "the suggestion is a lower bound; test higher ones with --to."
        )
    warnings += _errors(curves)
    if any(one.ended_by == "interrupted" for one in curves):
        warnings.append("The range test was interrupted: the suggestion is based on a part of it.")
    return warnings


def _errors(curves: Sequence[LrCurve]) -> list[str]:
    """Return the errors that ended range tests, as sentences."""
    found = (curve.raised for curve in curves if curve.raised is not None)
    return list(dict.fromkeys(map(_error_text, found)))


def _error_text(raised: Raised) -> str:
    text = f"The training raised {raised.error} at learning rate {format_lr(raised.lr)}, where the range test ended"
    text += "; at the lowest learning rate the same steps raise no error." if raised.was_checked else "."
    return text if raised.hint is None else f"{text} {raised.hint}"


def _too_short(curve: LrCurve) -> str:
    num_points = len(curve.points)
    if curve.ended_by == "interrupted":
        return f"The range test was interrupted after {num_points} steps, which is too early for a suggestion."
    if curve.ended_by == "non_finite" and num_points == 0:
        return "The loss is not finite at the first step: check the data for NaN, and the loss for log(0) or 0/0."
    event = "became NaN or infinite" if curve.ended_by == "non_finite" else "diverged"
    return f"The loss {event} after {num_points} steps: start lower with --from, or clip the gradient."


def finder_picks(curve: MeanCurve) -> FinderPicks:
    """Return the picks of other finders. A pick is None if the curve has no such point in the tested range."""
    minimum_tenth = float(curve.lrs[curve.lowest]) / 10
    return FinderPicks(
        steepest=_steepest(curve),
        minimum_tenth=minimum_tenth if minimum_tenth >= float(curve.lrs[0]) else None,
        valley=_valley(curve),
    )


def _steepest(curve: MeanCurve) -> float | None:
    """Learning rate at which the loss falls fastest per ln(lr), before its minimum (Smith 2017; fastai's `steep`)."""
    if curve.lowest < 1:
        return None
    falling = slice(0, curve.lowest + 1)
    slopes = np.gradient(curve.losses[falling], np.log(curve.lrs[falling]))
    return float(curve.lrs[int(slopes.argmin())])


def _valley(curve: MeanCurve) -> float | None:
    """Middle of the longest valley, which is the longest decreasing subsequence of the losses (fastai's default, `valley`)."""
    end, length = _longest_fall([float(loss) for loss in curve.losses])
    if length < 2:
        return None
    return float(curve.lrs[max(0, end - length) + length // 2])


def _longest_fall(losses: list[float]) -> tuple[int, int]:
    """Return the first end and the length of the longest strictly decreasing subsequence (by patience sorting)."""
    piles: list[float] = []  # pile k: minus the highest last loss of all falls of length k + 1; increasing
    best_end, best_length = 0, 0
    for place, loss in enumerate(losses):
        length = bisect_left(piles, -loss)
        piles[length : length + 1] = [-loss]
        if length + 1 > best_length:
            best_end, best_length = place, length + 1
    return best_end, best_length
