"""Numbers read off the attempts of a batch probe, for text and plots alike. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probe.batch.decide import timed_by_size
from probe.batch.records import MEMORY_OUTCOMES, Attempt, BatchResult

_CONFIDENCE = 0.95


def best_throughput(attempts: Sequence[Attempt]) -> float:
    """Samples per second of the fastest size; 0 if nothing fits."""
    return max((attempt.samples_per_second or 0.0 for attempt in timed_by_size(attempts).values()), default=0.0)


def confirmation(result: BatchResult) -> Attempt | None:
    """The longer run in which `largest_fit` fitted again; None if there is none."""
    size = result.largest_fit
    return next((a for a in result.attempts if a.fits and a.purpose == "confirm" and a.batch_size == size), None)


def largest_samples_peak(result: BatchResult, batch_size: int) -> int:
    """Peak of allocated memory at this size with the largest samples, in bytes; the confirming run counts only if alone."""
    at_size = [one for one in result.attempts if one.fits and one.batch_size == batch_size and one.memory is not None]
    with_largest = [one for one in at_size if one.purpose != "confirm"] or at_size
    return max((one.memory.peak_allocated_bytes for one in with_largest if one.memory is not None), default=0)


def max_fraction_above(num_batches: int) -> float:
    """Upper 95 % confidence bound of the fraction of batches that need more memory, if none of `num_batches` random ones did.

    A fraction p goes unnoticed with probability (1 - p)^n; solved for 5 %. For many batches this is close to the rule of
    three, 3/n (Hanley & Lippman-Hand 1983, doi:10.1001/jama.1983.03330370053031).
    """
    return 1.0 - float((1.0 - _CONFIDENCE) ** (1.0 / num_batches))


def peak_at(result: BatchResult, batch_size: int | None) -> int | None:
    """Largest peak of reserved memory among the attempts that fit at this size, in bytes."""
    at_size = [a.memory for a in result.attempts if a.fits and a.batch_size == batch_size and a.memory is not None]
    return max((memory.peak_reserved_bytes for memory in at_size), default=None)


def smallest_failure(result: BatchResult) -> Attempt | None:
    """The smallest size that failed above `largest_fit`."""
    floor = result.largest_fit or 0
    failed = [attempt for attempt in result.attempts if not attempt.fits and attempt.batch_size > floor]
    return min(failed, key=lambda attempt: attempt.batch_size, default=None)


def deciding_failures(result: BatchResult) -> list[Attempt]:
    """The smallest size that failed above `largest_fit`; if nothing fits, also the smallest that ran out of memory."""
    found = [smallest_failure(result)]
    if result.largest_fit is None:
        short = [attempt for attempt in result.attempts if attempt.outcome in MEMORY_OUTCOMES]
        found.append(min(short, key=lambda attempt: attempt.batch_size, default=None))
    return list(dict.fromkeys(attempt for attempt in found if attempt is not None))


def step_spread(attempt: Attempt) -> float | None:
    """Half the interquartile range of the step times relative to their median; None if they were not stored."""
    low, high = attempt.step_seconds_low, attempt.step_seconds_high
    if low is None or high is None or not attempt.step_seconds:
        return None
    return (high - low) / 2 / attempt.step_seconds


def taken_bytes(result: BatchResult, reserved_bytes: int) -> int:
    """Device memory of a process whose allocator has reserved so much: the CUDA context is added."""
    return reserved_bytes + (result.device_memory.context_bytes if result.device_memory is not None else 0)


def headroom_bytes(result: BatchResult) -> int | None:
    """Memory that is left below the limit at `largest_fit`; None if either is not known."""
    peak = peak_at(result, result.largest_fit)
    return None if peak is None or not result.limit_bytes else result.limit_bytes - taken_bytes(result, peak)


def nothing_should_fit(result: BatchResult) -> bool:
    """Whether there are predictions and batch size 1 fits in none of them."""
    return bool(result.predictions) and all(prediction.largest_fit is None for prediction in result.predictions)


def collapsed_sizes(attempts: Sequence[Attempt]) -> tuple[int, ...]:
    """Sizes that fit but run at less than half of the best throughput of any smaller size, in growing order.

    This is a sign of a driver that moves memory to the host instead of refusing it (Windows, WSL, integrated GPUs).
    """
    collapsed = []
    best = 0.0
    for size, attempt in timed_by_size(attempts).items():
        rate = attempt.samples_per_second or 0.0
        if rate < best / 2:
            collapsed.append(size)
        best = max(best, rate)
    return tuple(collapsed)


@dataclass(frozen=True, slots=True)
class PredictionCheck:
    """Predicted and measured memory of one batch size, in bytes."""

    batch_size: int
    predicted_bytes: int
    """Device memory, including the CUDA context."""
    measured_bytes: int
    predicted_allocated_bytes: int
    measured_allocated_bytes: int

    @property
    def error(self) -> float:
        """Relative error of the device memory: above 0 if too much was predicted."""
        return _relative_error(self.predicted_bytes, self.measured_bytes)

    @property
    def allocated_error(self) -> float:
        """Relative error of the allocated memory."""
        return _relative_error(self.predicted_allocated_bytes, self.measured_allocated_bytes)


def check_prediction(result: BatchResult) -> PredictionCheck | None:
    """Compare prediction and measurement at `largest_fit`; None if it was not both predicted and measured."""
    curve = result.prediction_info.curve if result.prediction_info is not None else ()
    point = next((point for point in curve if point.batch_size == result.largest_fit), None)
    readings = [a.memory for a in result.attempts if a.fits and a.batch_size == result.largest_fit and a.memory]
    if point is None or not readings:
        return None
    return PredictionCheck(
        batch_size=point.batch_size,
        predicted_bytes=point.peak_bytes,
        measured_bytes=taken_bytes(result, max(reading.peak_reserved_bytes for reading in readings)),
        predicted_allocated_bytes=point.allocated_bytes,
        measured_allocated_bytes=max(reading.peak_allocated_bytes for reading in readings),
    )


def _relative_error(predicted: int, measured: int) -> float:
    return (predicted - measured) / measured if measured else 0.0
