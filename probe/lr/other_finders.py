"""The learning rates that other LR finders would pick from the same range test. Pure.

Each rule is applied to probe's smoothed curve, so that the picks differ by rule and not by smoothing.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from probe.lr.curve import MeanCurve
from probe.lr.records import FinderPicks


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
