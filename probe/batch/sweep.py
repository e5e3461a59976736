"""Run a sweep: decide, attempt and record until the answer is known, an error occurs, or the user interrupts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from probe.batch.context import ProbeInfo
from probe.batch.decide import (
    Limits,
    NextAttempt,
    capped_by,
    default_timeout,
    fatal_error,
    largest_fit,
    most_samples,
    next_attempt,
    recommended,
    start_at,
)
from probe.batch.errors_by_size import is_suspect, suspects_by_size
from probe.batch.prediction.memory_model import Untraceable
from probe.batch.prediction.predict import USABLE_FRACTION, TargetGpus, contradictions, predict_batch_sizes
from probe.batch.prediction_records import Prediction, PredictionInfo
from probe.batch.records import Attempt, BatchResult, LoaderSpeed, StoppedBy
from probe.batch.runner import AttemptRunner
from probe.batch.sample_ranking import SampleRanking
from probe.device.select import NO_GPU_HINT
from probe.errors import DeviceError, ProbeError, TaskError, UserCodeError
from probe.units import format_count

Observer = Callable[[Attempt], None]
News = ProbeInfo | PredictionInfo | NextAttempt | LoaderSpeed
Announce = Callable[[News], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepOptions:
    """Options of a sweep that only a search and the command line use."""

    size_only: bool = False
    """Find only the largest size that fits, without throughput curve, confirmation and timing."""
    max_samples: int | None = None
    """Number of training samples that all attempts may use together; the sweep ends before an attempt that could exceed
    it. None for no limit. Only with `size_only`."""
    curve_sizes: int | None = None
    """Number of sizes in the throughput curve; None for at least MIN_CURVE_SIZES, and all at full speed."""
    rankings: tuple[SampleRanking, ...] = ()
    """Rankings of the samples from an earlier sweep over the same data; empty if they are still to be measured."""
    attempt_timeout: float | None = None
    """Seconds after which an attempt ends; None for `decide.default_timeout`. Attempts in this process do not end early."""
    announce: Announce | None = None
    """Called with the ProbeInfo, the PredictionInfo, the NextAttempt before each attempt, and each LoaderSpeed."""


@dataclass(slots=True)
class _Sweep:
    """The state of a sweep."""

    runner: AttemptRunner
    limits: Limits
    options: SweepOptions
    observer: Observer | None
    attempts: list[Attempt] = field(default_factory=list)
    last_fit: Attempt | None = None
    last_seconds: float = 0.0
    """Seconds that `last_fit` took."""
    interrupted: bool = False
    error: ProbeError | None = None

    def announce(self, news: News) -> None:
        if self.options.announce is not None:
            self.options.announce(news)

    def make_attempts(self) -> None:
        """Make attempts until none is left. An error or Ctrl-C ends the sweep and is stored."""
        try:
            while self.error is None and (upcoming := self._next_affordable()) is not None:
                self.announce(upcoming)
                self._make_attempt(upcoming)
        except KeyboardInterrupt:
            self.interrupted, self.error = True, None
        else:
            if self.error is None and fatal_error(self.attempts):
                self.error = error_at_every_size(self.attempts)

    def _next_affordable(self) -> NextAttempt | None:
        upcoming = next_attempt(self.attempts, self.limits)
        most = self.options.max_samples
        if (
            upcoming is None
            or most is None
            or num_samples_used(self.attempts) + most_samples(upcoming.batch_size) <= most
        ):
            return upcoming
        return None

    def _make_attempt(self, upcoming: NextAttempt) -> None:
        started, timeout = time.perf_counter(), self.options.attempt_timeout
        if timeout is None:
            timeout = default_timeout(upcoming, self.last_fit, self.last_seconds)
        try:
            attempt = self.runner.run(upcoming, timeout)
        except ProbeError as raised:
            self.error = raised
            traceback = raised.traceback if isinstance(raised, UserCodeError) else None
            attempt = upcoming.failed("error", str(raised), traceback)
        self.attempts.append(attempt)
        if attempt.fits:
            self.last_fit, self.last_seconds = attempt, time.perf_counter() - started
        if self.observer is not None:
            self.observer(attempt)

    def stopped_by(self, info: ProbeInfo) -> StoppedBy:
        if self.interrupted:
            return "interrupted"
        if info.device_problem is not None:
            return "predicted"
        if self.error is not None:
            return "error"
        is_complete = next_attempt(self.attempts, self.limits) is None  # otherwise `max_samples` ended it
        return "nothing_fits" if largest_fit(self.attempts) is None and is_complete else "finished"

    def result(
        self,
        info: ProbeInfo,
        task: str,
        prediction_info: PredictionInfo | None,
        predictions: tuple[Prediction, ...],
        seconds: float,
    ) -> BatchResult:
        attempts, prediction = self.attempts, next(iter(predictions), None)
        return BatchResult(
            meta=info.meta,
            stopped_by=self.stopped_by(info),
            task=task,
            optimizer=info.optimizer,
            precision=info.precision,
            limit_bytes=info.limit_bytes,
            device_memory=info.device_memory,
            warnings=info.device_warnings,
            num_samples=info.num_samples,
            samples=tuple(ranking.coverage for ranking in info.rankings),
            largest_fit=largest_fit(attempts),
            recommended=None if self.limits.size_only else recommended(attempts),
            capped_by=capped_by(attempts, self.limits),
            attempts=tuple(attempts),
            prediction_info=prediction_info,
            predictions=predictions,
            contradictions=contradictions(attempts, prediction_info, prediction),
            seconds=seconds,
        )


def run_sweep(
    runner: AttemptRunner,
    *,
    task: str,
    limits: Limits,
    predict: bool = True,
    observer: Observer | None = None,
    options: SweepOptions | None = None,
) -> tuple[BatchResult, ProbeError | None]:
    """Find the largest batch that fits and the smallest that is fast enough, or predict them without a device; then close
    `runner`. Returns the result, and the error that ended the sweep, if any; Ctrl-C ends it with the result so far. Raises
    DeviceError if there is neither a device nor a prediction, and ProbeError if `runner.open` fails."""
    started = time.perf_counter()
    sweep = _Sweep(runner, limits, options or SweepOptions(), observer)
    prediction_info: PredictionInfo | None = None
    predictions: tuple[Prediction, ...] = ()
    try:
        info = runner.open()
        sweep.announce(info)
        sweep.limits = replace(limits, num_samples=info.num_samples, task_batch_size=info.task_batch_size)
        if predict:
            prediction_info, predictions = _predict(runner, info, sweep.limits)
            sweep.announce(prediction_info)
        sweep.limits = replace(sweep.limits, start=start_at(limits.start, next(iter(predictions), None)))
        if info.device_problem is None:
            sweep.make_attempts()
    finally:
        try:
            runner.close()
        except KeyboardInterrupt:  # must not discard the attempts
            sweep.interrupted = True
    result = sweep.result(info, task, prediction_info, predictions, time.perf_counter() - started)
    return result, sweep.error


def _predict(runner: AttemptRunner, info: ProbeInfo, limits: Limits) -> tuple[PredictionInfo, tuple[Prediction, ...]]:
    """Predict for the device, or for GPUs if there is no device. Raises DeviceError if there is no prediction either."""
    started = time.perf_counter()
    gpus = _target_gpus(info, limits)
    model = runner.build_memory_model(gpus)
    if info.device_problem is not None and isinstance(model, Untraceable):
        raise DeviceError(
            f"There is no GPU to measure: {info.device_problem} Its memory cannot be predicted either: {model.reason}",
            hint=NO_GPU_HINT,
        )
    prediction_info, predictions = predict_batch_sizes(model, gpus)
    return replace(prediction_info, seconds=time.perf_counter() - started), predictions


def _target_gpus(info: ProbeInfo, limits: Limits) -> TargetGpus:
    """Return the device or, without one, the GPU size given by the user or common GPUs."""
    if info.device_problem is None:
        known = () if info.limit_bytes is None else (info.limit_bytes,)
        size_bytes = None if info.device_memory is None else info.device_memory.size_bytes
        return TargetGpus(memory_bytes=known, size_bytes=size_bytes, bound=limits.bound, costs=info.costs)
    if info.device.limit_bytes is not None:
        return TargetGpus(memory_bytes=(info.device.limit_bytes,), bound=limits.bound, costs=info.costs)
    return TargetGpus(usable_fraction=USABLE_FRACTION, bound=limits.bound, costs=info.costs)


def num_samples_used(attempts: Sequence[Attempt]) -> int:
    """Return the number of training samples in all attempts; at least one batch for an attempt whose process died."""
    return sum(max(attempt.num_samples, attempt.batch_size) for attempt in attempts)


def error_at_every_size(attempts: Sequence[Attempt]) -> TaskError:
    """Return the error of a task that fails at all sizes that were tried, with the task's own message."""
    last = [attempt for attempt in attempts if is_suspect(attempt)][-1]
    suspects = suspects_by_size(attempts)
    sizes = ", ".join(map(format_count, suspects))
    larger = "; larger ones run out of memory" if any(a.batch_size not in suspects for a in attempts) else ""
    hint = f"It fails at every batch size that was tried: {sizes}{larger}." if "," in sizes else None
    if last.traceback is not None:
        return UserCodeError(last.message or "", traceback=last.traceback, hint=hint)
    return TaskError(last.message or "", hint=hint)
