"""Detect memory that grows with every step, like stored features, memory banks or graphs that are never freed. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

MIN_READINGS = 9
"""Three readings in each third; with fewer, an ascending order is too often chance."""
_MAX_RATIO = 4.0
"""Largest ratio of the growth rates between thirds. Memory that jumps once, like late optimizer state, exceeds it."""


def growth_per_step(live_bytes: Sequence[int]) -> float | None:
    """Return the bytes by which memory grows with each step, or None if it does not grow steadily.

    Memory grows steadily if all readings of each third are above all readings of the third before, and both rises are
    similar. Noise from batches of different sizes does not have this order.

    Args:
        live_bytes: bytes of live tensors after each step.
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
