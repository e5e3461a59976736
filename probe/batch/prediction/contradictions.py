"""Where what was measured contradicts what was predicted. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from probe.batch.records import Attempt, Contradiction, ContradictionKind, Forecast, Outcome, Prediction

NOTABLE_ERROR = 0.1
"""Of a peak: predictions that are further off than this fraction of what was measured are told."""
_MEMORY_FAILURES: frozenset[Outcome] = frozenset({"oom", "oom_in_eval", "thrashes"})


def contradictions(
    attempts: Sequence[Attempt], forecast: Forecast | None, prediction: Prediction | None
) -> tuple[Contradiction, ...]:
    """The largest size that fits though it was not predicted to, the smallest that does not though it was, and the peak
    that is furthest off, if it is off by NOTABLE_ERROR.

    `prediction`: for the device that the attempts ran on; None where nothing was predicted.
    """
    if forecast is None or prediction is None:
        return ()
    expected = {point.batch_size: point.allocated_bytes for point in forecast.curve}
    most = prediction.largest_fit or 0
    told: list[Contradiction] = []
    fitting = [attempt for attempt in attempts if attempt.fits and attempt.batch_size > most]
    if fitting:
        told.append(_of(max(fitting, key=_size), "fits", expected))
    failing = [one for one in attempts if one.outcome in _MEMORY_FAILURES and one.batch_size <= most]
    if failing:
        told.append(_of(min(failing, key=_size), "does not fit", expected))
    peaks = list(_peaks(attempts, expected))
    if peaks:
        furthest = max(peaks, key=lambda peak: abs(peak.error or 0.0))
        if abs(furthest.error or 0.0) > NOTABLE_ERROR:
            told.append(furthest)
    return tuple(told)


def _peaks(attempts: Sequence[Attempt], expected: dict[int, int]) -> Iterator[Contradiction]:
    for attempt in attempts:
        if not attempt.fits or attempt.memory is None or attempt.batch_size not in expected:
            continue
        is_more = attempt.memory.peak_allocated_bytes > expected[attempt.batch_size]
        if attempt.purpose != "confirm" or is_more:  # shuffled batches rarely take as much as the largest samples
            yield _of(attempt, "peak", expected)


def _of(attempt: Attempt, kind: ContradictionKind, expected: dict[int, int]) -> Contradiction:
    return Contradiction(
        kind=kind,
        batch_size=attempt.batch_size,
        predicted_bytes=expected.get(attempt.batch_size),
        measured_bytes=attempt.memory.peak_allocated_bytes if attempt.fits and attempt.memory is not None else None,
    )


def _size(attempt: Attempt) -> int:
    return attempt.batch_size
