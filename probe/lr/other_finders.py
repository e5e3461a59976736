"""What other finders would have read off the same curve, for those who know them. Pure.

Each is applied to our smoothed curve, so that the rules differ and not the smoothing.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from probe.lr.curve import MeanCurve
from probe.lr.records import FinderPicks


def finder_picks(curve: MeanCurve) -> FinderPicks:
    """Steepest descent per ln(lr), a tenth of the minimum's lr, and the middle of the longest valley.

    A pick is None where the curve has no such point inside the tested range.
    """
    minimum_tenth = float(curve.lrs[curve.lowest]) / 10
    return FinderPicks(
        steepest=_steepest(curve),
        minimum_tenth=minimum_tenth if minimum_tenth >= float(curve.lrs[0]) else None,
        valley=_valley(curve),
    )


def _steepest(curve: MeanCurve) -> float | None:
    """Where the loss falls fastest per ln(lr) before its minimum (Smith 2017; fastai's `steep`)."""
    if curve.lowest < 1:
        return None
    falling = slice(0, curve.lowest + 1)
    slopes = np.gradient(curve.losses[falling], np.log(curve.lrs[falling]))
    return float(curve.lrs[int(slopes.argmin())])


def _valley(curve: MeanCurve) -> float | None:
    """Halfway along the longest valley: the longest falling subsequence of losses (fastai's `valley`, its default)."""
    end, length = _longest_fall([float(loss) for loss in curve.losses])
    if length < 2:
        return None
    return float(curve.lrs[max(0, end - length) + length // 2])


def _longest_fall(losses: list[float]) -> tuple[int, int]:
    """Where the longest strictly falling subsequence ends first, and how long it is (by patience sorting)."""
    piles: list[float] = []  # number k: minus the highest loss that a fall of k + 1 losses can end with; grows
    best_end, best_length = 0, 0
    for place, loss in enumerate(losses):
        length = bisect_left(piles, -loss)
        piles[length : length + 1] = [-loss]
        if length + 1 > best_length:
            best_end, best_length = place, length + 1
    return best_end, best_length
