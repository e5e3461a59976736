"""What a batch probe's attempts say, worked out once for text and plots alike. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from probe.batch.decide import timed_by_size
from probe.batch.records import Attempt, BatchResult

MEMORY_OUTCOMES = frozenset({"oom", "oom_in_eval", "thrashes", "host_oom"})


def best_throughput(attempts: Sequence[Attempt]) -> float:
    """Samples per second of the fastest size, 0 where nothing fit."""
    return max((attempt.samples_per_second or 0.0 for attempt in timed_by_size(attempts).values()), default=0.0)


def is_confirmed(result: BatchResult) -> bool:
    """Whether `largest_fit` fit again in its longer run."""
    return any(a.fits and a.purpose == "confirm" and a.batch_size == result.largest_fit for a in result.attempts)


def peak_at(result: BatchResult, batch_size: int | None) -> int | None:
    """Largest peak of reserved memory among the attempts at this size that fit, in bytes."""
    peaks = [
        attempt.memory.peak_reserved_bytes
        for attempt in result.attempts
        if attempt.fits and attempt.batch_size == batch_size and attempt.memory is not None
    ]
    return max(peaks, default=None)


def smallest_failure(result: BatchResult) -> Attempt | None:
    """The smallest size that failed above `largest_fit`."""
    floor = result.largest_fit or 0
    failed = [attempt for attempt in result.attempts if not attempt.fits and attempt.batch_size > floor]
    return min(failed, key=lambda attempt: attempt.batch_size, default=None)
