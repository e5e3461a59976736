"""The progress of an attempt, and what its steps say about memory: whether it is steady, grows, or thrashes. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from probe.batch.records import MemoryGrowth

TRAINING = "training"
VALIDATION = "validation"


@dataclass(slots=True)
class Progress:
    """The progress of an attempt, which is available even if it fails."""

    stage: str = TRAINING
    num_samples: int = 0
    """Number of training samples in all steps, including the current one."""
    num_batches: int = 0
    batches_per_epoch: int | None = None
    live_bytes: list[int] = field(default_factory=list)
    """Bytes of live tensors after each shuffled batch, excluding the batch itself."""
    num_retries: list[int] = field(default_factory=list)
    """Number of retries of the allocator after each shuffled batch."""
    timed_flushes: tuple[int, int] = (0, 0)
    """Number of times that the allocator emptied its cache in the timed steps, and the number of these steps."""
    growth: MemoryGrowth | None = None

    def runs_out_soon(self, wanted: int) -> bool:
        """Whether memory grows and more batches than the `wanted` ones would show nothing new."""
        return self.growth is not None and (self.num_batches >= wanted or self.growth.last_step <= wanted)

    @property
    def growth_until_failure(self) -> MemoryGrowth | None:
        """Growth of memory up to the last batch of an attempt that failed."""
        rate = growth_per_step(self.live_bytes)
        return None if rate is None else MemoryGrowth(bytes_per_step=rate, last_step=self.num_batches)

    @property
    def thrashing(self) -> tuple[int, int] | None:
        """Number of steady steps in which the allocator emptied its cache, and of all of them, if these are too many; None
        otherwise. Memory that grows reaches the limit at any batch size, so its flushes say nothing about this one."""
        if self.growth is not None:
            return None
        counts = (steady_flushes(self.num_retries), self.timed_flushes)
        return next((count for count in counts if is_thrashing(*count)), None)


MAX_FLUSHED_FRACTION = 0.1
"""Largest fraction of steady steps in which the allocator may empty its cache. Each time costs about as much as a step."""


def is_thrashing(num_flushes: int, num_steps: int) -> bool:
    """Return whether the allocator emptied its cache in too many of these steady steps. Steps are steady after at least as many
    others: in the first ones the optimizer's state cuts up freed blocks and cuDNN tries large workspaces, which empties the
    cache of a batch that then trains at full speed."""
    return num_flushes > MAX_FLUSHED_FRACTION * num_steps


def steady_flushes(num_retries: Sequence[int]) -> tuple[int, int]:
    """Return the number of steps that emptied the allocator's cache among the later half, and the size of that half, from the
    number of retries so far after each step."""
    num_judged = len(num_retries) // 2
    judged = num_retries[len(num_retries) - num_judged - 1 :]
    return sum(after > before for before, after in pairwise(judged)), num_judged


MIN_READINGS = 9
"""Three readings in each third; with fewer, an ascending order is too often chance."""
_MAX_RATIO = 4.0
"""Largest ratio of the growth rates between thirds. Memory that jumps once, like late optimizer state, exceeds it."""


def growth_per_step(live_bytes: Sequence[int]) -> float | None:
    """Return the bytes by which memory grows with each step, from the bytes of live tensors after each, or None if it does not
    grow steadily. Memory grows steadily if all readings of each third are above all readings of the third before, and both
    rises are similar. Noise from batches of different sizes does not have this order."""
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


MAX_STEPS_LEFT = 1_000_000
"""Growth of memory that lasts for more steps is ignored."""


def growth_until_full(bytes_per_step: float, left_bytes: int, num_steps: int) -> MemoryGrowth | None:
    """Return the growth after `num_steps` steps with `left_bytes` of free memory, or None if it may be ignored."""
    num_left = max(0, left_bytes) / bytes_per_step
    return (
        MemoryGrowth(bytes_per_step=bytes_per_step, last_step=num_steps + int(num_left))
        if num_left < MAX_STEPS_LEFT
        else None
    )
