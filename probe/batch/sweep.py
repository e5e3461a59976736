"""The sweep: decide, attempt, record, until everything is known or the user has seen enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from probe.batch.decide import (
    DEFAULT_START,
    Limits,
    Plan,
    capped_by,
    fatal_error,
    largest_fit,
    most_samples,
    next_attempt,
    recommended,
    start_at,
)
from probe.batch.errors_by_size import is_suspect, suspects_by_size
from probe.batch.prediction.contradictions import contradictions
from probe.batch.prediction.forecast import USABLE_SHARE, Cards, forecast
from probe.batch.prediction.memory_model import Untraceable
from probe.batch.records import Attempt, BatchResult, Forecast, Prediction, StoppedBy
from probe.batch.runner import AttemptRunner
from probe.batch.session import Facts
from probe.device.select import NO_GPU_HINT
from probe.errors import DeviceError, ProbeError, TaskError, UserCodeError
from probe.units import format_count

Observer = Callable[[Attempt], None]
Announce = Callable[[Forecast | Plan], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepOptions:
    """What the caller decides about a sweep. Raises UsageError for sizes below 1."""

    start: int | None = None
    """None: what is predicted, or 512."""
    max: int | None = None
    card_bytes: int | None = None
    """The one card to predict for where there is no device; None: common ones."""
    predict: bool = True
    size_only: bool = False
    max_samples: int | None = None
    """With `size_only`: training samples that the attempts may see together; None: any number."""
    confirms: bool = True

    def __post_init__(self) -> None:
        self.limits(DEFAULT_START if self.start is None else self.start, num_samples=None)

    def limits(self, start: int, num_samples: int | None, own_size: int | None = None) -> Limits:
        return Limits(
            start=start,
            max=self.max,
            num_samples=num_samples,
            own_size=own_size,
            size_only=self.size_only,
            confirms=self.confirms,
        )


def run_sweep(
    runner: AttemptRunner,
    *,
    task: str,
    options: SweepOptions,
    observer: Observer | None = None,
    announce: Announce | None = None,
) -> tuple[BatchResult, ProbeError | None]:
    """Find the largest batch that fits and the smallest that is fast enough; where there is no device, predict.

    `task` says in words what is trained. Ctrl-C ends the sweep with what it has. So does an error that has nothing to do
    with the batch size, which is returned beside the result for the caller to raise once the result is safe. `announce`
    hears what is predicted, and of every attempt before it is made. `runner` is closed in any case.

    Raises what `runner.open` raises, and DeviceError where there is neither a device nor a prediction.
    """
    started = time.perf_counter()
    attempts: list[Attempt] = []
    expected: Forecast | None = None
    predictions: tuple[Prediction, ...] = ()
    interrupted, error = False, None
    here: Prediction | None = None
    limits = options.limits(DEFAULT_START, None)
    try:
        facts = runner.open()
        if options.predict:
            expected, predictions = _predict(runner, facts, options)
            if announce is not None:
                announce(expected)
        here = predictions[0] if predictions else None
        limits = options.limits(start_at(options.start, here), facts.num_samples, facts.own_batch_size)
        if facts.device_problem is None:
            interrupted, error = _attempt_all(runner, limits, attempts, observer, announce, options.max_samples)
    finally:
        runner.close()
    result = BatchResult(
        meta=facts.meta,
        stopped_by=_stopped_by(facts, attempts, limits, error, interrupted=interrupted),
        task=task,
        optimizer=facts.optimizer,
        precision=facts.precision,
        limit_bytes=facts.limit_bytes,
        device_memory=facts.device_memory,
        num_samples=facts.num_samples,
        samples=tuple(ranking.coverage for ranking in facts.rankings),
        largest_fit=largest_fit(attempts),
        recommended=None if limits.size_only else recommended(attempts),
        capped_by=capped_by(attempts, limits),
        attempts=tuple(attempts),
        forecast=expected,
        predictions=predictions,
        contradictions=contradictions(attempts, expected, here),
        seconds=time.perf_counter() - started,
    )
    return result, error


def _predict(runner: AttemptRunner, facts: Facts, options: SweepOptions) -> tuple[Forecast, tuple[Prediction, ...]]:
    """For the device, or for cards where there is none. Raises DeviceError where that leaves nothing to say."""
    started = time.perf_counter()
    cards = _cards(facts, options)
    found = runner.profile(cards)
    if facts.device_problem is not None and isinstance(found, Untraceable):
        raise DeviceError(
            f"There is no GPU to measure: {facts.device_problem} Nor can its memory be predicted: {found.reason}",
            hint=NO_GPU_HINT,
        )
    expected, predictions = forecast(found, cards)
    return replace(expected, seconds=time.perf_counter() - started), predictions


def _cards(facts: Facts, options: SweepOptions) -> Cards:
    """The device, or cards where there is none."""
    bound = options.limits(DEFAULT_START, facts.num_samples).bound
    if facts.device_problem is None:
        known = () if facts.limit_bytes is None else (facts.limit_bytes,)
        return Cards(memory_bytes=known, bound=bound, costs=facts.costs)
    if options.card_bytes is not None:
        return Cards(memory_bytes=(options.card_bytes,), bound=bound, costs=facts.costs)
    return Cards(usable_share=USABLE_SHARE, bound=bound, costs=facts.costs)


def _stopped_by(
    facts: Facts, attempts: list[Attempt], limits: Limits, error: ProbeError | None, *, interrupted: bool
) -> StoppedBy:
    if interrupted:
        return "interrupted"
    if facts.device_problem is not None:
        return "predicted"
    if error is not None:
        return "error"
    has_ended = next_attempt(attempts, limits) is None  # else `max_samples` did not pay for more
    return "nothing_fits" if largest_fit(attempts) is None and has_ended else "finished"


def _attempt_all(
    runner: AttemptRunner,
    limits: Limits,
    attempts: list[Attempt],
    observer: Observer | None,
    announce: Announce | None,
    max_samples: int | None,
) -> tuple[bool, ProbeError | None]:
    """Fill `attempts`; whether the user interrupted, and the error that ended the sweep."""
    error: ProbeError | None = None
    try:
        while (plan := next_attempt(attempts, limits)) is not None:
            if max_samples is not None and num_seen(attempts) + most_samples(plan.batch_size) > max_samples:
                break
            if announce is not None:
                announce(plan)
            try:
                attempt = runner.run(plan)
            except ProbeError as raised:
                error = raised
                traceback = raised.traceback if isinstance(raised, UserCodeError) else None
                attempt = Attempt(
                    batch_size=plan.batch_size,
                    purpose=plan.purpose,
                    outcome="error",
                    message=str(raised),
                    traceback=traceback,
                )
            attempts.append(attempt)
            if observer is not None:
                observer(attempt)
            if error is not None:
                return False, error
    except KeyboardInterrupt:
        return True, None
    return False, error_at_every_size(attempts) if fatal_error(attempts) else None


def num_seen(attempts: Sequence[Attempt]) -> int:
    """Training samples that the attempts saw; of one that was lost with its process, those of its first step at least."""
    return sum(max(attempt.num_samples, attempt.batch_size) for attempt in attempts)


def error_at_every_size(attempts: Sequence[Attempt]) -> TaskError:
    """The error of a task that fails at all sizes that were tried, in the task's own words."""
    last = [attempt for attempt in attempts if is_suspect(attempt)][-1]
    suspects = suspects_by_size(attempts)
    sizes = ", ".join(map(format_count, suspects))
    larger = "; larger ones run out of memory" if any(a.batch_size not in suspects for a in attempts) else ""
    hint = f"It fails at every batch size that was tried: {sizes}{larger}." if "," in sizes else None
    if last.traceback is not None:
        return UserCodeError(last.message or "", traceback=last.traceback, hint=hint)
    return TaskError(last.message or "", hint=hint)
