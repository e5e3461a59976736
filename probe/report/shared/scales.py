"""Limits for plots of objective values. Pure."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence


def shown_range(values: Sequence[float], mode: str) -> tuple[float, float]:
    """(worst, best) of what is shown: every value, unless a few hopeless ones would press the rest flat.

    The bad end is cut at three times the distance from the best to the median value.
    """
    ordered = sorted(values, reverse=mode == "max")
    best, median, worst = ordered[0], ordered[len(ordered) // 2], ordered[-1]
    spread = 3 * abs(median - best)
    end = worst if spread == 0 or abs(worst - best) <= spread else best + math.copysign(spread, worst - best)
    return end, best


def value_limits(values: Sequence[float], mode: str) -> tuple[float, float]:
    """Limits for an axis: the shown range with a margin. Always low < high."""
    low, high = sorted(shown_range(values, mode))
    # a margin below the smallest normal number would round to nothing
    margin = max(0.06 * ((high - low) or abs(high) or 1.0), sys.float_info.min)
    return low - margin, high + margin


def num_hidden(values: Sequence[float], mode: str) -> int:
    """How many of them lie beyond the bad end of what is shown."""
    worst, _ = shown_range(values, mode)
    return sum(value < worst if mode == "max" else value > worst for value in values)
