"""Memory that grows from step to step: kept features, memory banks, graphs that are never freed. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

MIN_READINGS = 9
"""Three in each third: fewer show an order too easily that is chance."""
_MAX_RATIO = 4.0
"""Of the growth between the thirds: memory that jumps once or twice, like an optimizer's late state, does not grow."""


def growth_per_step(live_bytes: Sequence[int]) -> float | None:
    """Bytes by which memory grows with every step, from what is alive after each; None where it does not grow steadily.

    It grows where every reading of the second third is above all of the first one, every reading of the last third above all
    of the second one, and both rises are alike: noise of batches of different sizes has no such order.
    """
    if len(live_bytes) < MIN_READINGS:
        return None
    size = len(live_bytes) // 3
    thirds = [live_bytes[:size], live_bytes[size : 2 * size], live_bytes[-size:]]
    if max(thirds[0]) >= min(thirds[1]) or max(thirds[1]) >= min(thirds[2]):
        return None
    middles = [statistics.median(third) for third in thirds]
    rises = (middles[1] - middles[0]) / size, (middles[2] - middles[1]) / (len(live_bytes) - 2 * size)
    if max(rises) > _MAX_RATIO * min(rises):
        return None
    return (middles[2] - middles[0]) / (len(live_bytes) - size)
