"""Measure one batch size: training steps on the largest samples or shuffled batches, validation, timed steps, and the last,
partial batch of the data set."""

from __future__ import annotations

import gc
import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Subset

from probe.batch.decide import Duration
from probe.batch.progress import TRAINING, VALIDATION, Progress, growth_per_step, growth_until_full
from probe.batch.records import MEMORY_OUTCOMES, MemoryGrowth, Outcome
from probe.batch.sample_ranking import Indices, SampleRanking
from probe.batch.task_samples import load_batch
from probe.device.failures import find_failure
from probe.device.protocol import Device
from probe.errors import ProbeError, UserCodeError, first_line, user_code_error
from probe.loading.batch import Batch
from probe.loading.dataset import as_dataset, is_unbounded, num_samples
from probe.task import Task, has_updates
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings
from probe.training.step import matmul_precision
from probe.units import format_bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """Why an attempt, or a part of it, failed. It does not hold the exception, whose frames keep tensors alive."""

    outcome: Outcome
    message: str
    traceback: str | None = None


class SpilledError(Exception):
    """The device took more memory than it has. It is raised to end the attempt, whose further steps would be slow."""


def failed_by(error: Exception) -> Failed | None:
    """Return the failure that `error` shows, or None for probe's own errors, which do not depend on the batch size."""
    if isinstance(error, SpilledError):
        return Failed("spills", str(error))
    failure, culprit = find_failure(error)
    if failure in ("oom", "host_oom"):
        return Failed(failure, first_line(culprit))
    if isinstance(error, ProbeError) and not isinstance(error, UserCodeError):
        return None
    wrapped = error if isinstance(error, UserCodeError) else user_code_error(f"{type(error).__name__}: {error}", error)
    return Failed(failure or "error", str(wrapped), wrapped.traceback)


@dataclass(frozen=True, slots=True)
class Timed:
    """The measurement of an attempt that fits."""

    step_seconds: tuple[float, ...]
    loss: float
    host_seconds: float | None = None
    """Shortest time in which the host queued a step; None if the device does not queue work."""
    partial: Failed | None = None
    """Error of the task's code at an epoch's last, partial batch."""


def measure(
    task: Task,
    settings: TrainerSettings,
    device: Device,
    seed: int,
    duration: Duration,
    rankings: Sequence[SampleRanking],
    progress: Progress,
) -> Timed:
    """Train and validate with batches of `settings.batch_size` samples. `progress` is updated meanwhile, so that it is
    available after an error."""
    task = replace(task, metrics=_safe_metrics(task.metrics))
    with matmul_precision(settings.precision), device.track():
        # The optimizer steps even if the loss is not finite, because its memory is to be measured.
        run = TrainingRun(task, settings, device=device, seed=seed, stops_at_nan=False)
        run.model.train()
    attempt = _Attempt(run, device, duration, rankings, progress)
    with matmul_precision(settings.precision):
        with device.track():
            started = attempt.train_shuffled() if duration.num_batches else attempt.train_largest()
            attempt.validate()
        attempt.check_spilled()
        seconds, host_seconds = attempt.time_steps(started.step_seconds[0])
        partial = None if duration.num_batches else attempt.try_last_partial()
        seconds = seconds or started.step_seconds
        return replace(started, step_seconds=seconds, host_seconds=host_seconds, partial=partial)


class _Attempt:
    """A training run under measurement. The methods that train and validate must be called inside `device.track()`."""

    def __init__(
        self,
        run: TrainingRun,
        device: Device,
        duration: Duration,
        rankings: Sequence[SampleRanking],
        progress: Progress,
    ) -> None:
        self._run = run
        self._task = run.task
        self._device = device
        self._duration = duration
        self._rankings = rankings
        self._progress = progress
        self._orders = rankings[0].largest(run.settings.batch_size)
        with device.untracked():
            self._first = load_batch(self._task, self._task.train, self._orders[0])
        self._batch: Batch | None = None
        """The first batch on the device, while it is needed."""
        self._ahead: Batch | None = None
        """The batch that is copied while one is trained on, if training copies ahead."""

    def train_largest(self) -> Timed:
        """Train on the largest samples by each measure, and time one step."""
        self._batch = self._moved(self._first)
        self._ahead = self._moved(self._first) if self._run.copies_ahead else None
        for _ in range(self._duration.num_warmup_steps - 1):
            self._train(self._batch)
            self.check_spilled()
        timed = self._timed_once(self._batch)
        for indices in self._orders[1:]:
            self._batch = None  # as in training, one batch is freed before the next is loaded
            self._train(self._loaded(self._task.train, indices))
        self._device.synchronize()
        return timed

    def train_shuffled(self) -> Timed:
        """Train on shuffled batches, as in training, until `duration` is reached or memory is known to grow. Returns the mean
        seconds of a step."""
        run, progress, device = self._run, self._progress, self._device
        size, endless = run.settings.batch_size, is_unbounded(self._task.train)
        progress.stage = "training on batches of the data set" if endless else "training on shuffled batches"
        progress.batches_per_epoch = None if endless else num_samples(self._task.train) // size
        # The last, partial batch of an epoch is tried separately, where its errors can be told apart.
        repeated = (self._moved(self._first) for _ in itertools.count())
        batches = repeated if endless else filter(lambda batch: batch.num_samples == size, run.batches())
        started = time.perf_counter()
        has_enough = False
        while not has_enough:
            loss = self._train(next(batches))  # no reference, so that the batch is freed before the next is loaded
            progress.num_batches += 1
            progress.live_bytes.append(device.live_bytes() or 0)
            progress.num_retries.append(device.num_alloc_retries())
            seconds = time.perf_counter() - started
            has_enough = self._duration.has_enough(progress.num_batches, progress.batches_per_epoch, seconds)
            if has_enough or progress.num_batches % (progress.batches_per_epoch or 1) == 0:
                progress.growth = self._growth()
            has_enough = has_enough or progress.runs_out_soon(self._duration.num_batches)
        device.synchronize()
        return Timed(((time.perf_counter() - started) / progress.num_batches,), float(loss))

    def validate(self) -> None:
        """Evaluate the largest validation samples. Without a validation split, which is then split off the training set,
        evaluate training samples."""
        self._progress.stage = VALIDATION
        if self._task.val is not None:
            self._batch = self._ahead = None
            self._run.evaluate(self._validation_samples())
        else:
            for number, indices in enumerate(self._orders):
                if number > 0 or self._batch is None:
                    self._batch = None
                    self._batch = self._moved(self._first) if number == 0 else self._loaded(self._task.train, indices)
                # Twice, as memory of the first may still be held in the second.
                self._run.evaluate_batches(itertools.repeat(self._batch, 2))
            if len(self._orders) > 1:
                self._batch = None
        self._device.synchronize()
        self._progress.stage = TRAINING

    def check_spilled(self) -> None:
        """Raise SpilledError if the device took more memory than it has."""
        memory, reading = self._device.memory, self._device.read_memory()
        if memory is None or reading is None:
            return
        spilled_bytes = memory.spilled_bytes(reading.peak_reserved_bytes)
        if spilled_bytes > 0:
            size = format_bytes(spilled_bytes)
            raise SpilledError(
                f"{size} more than the device has were allocated, which the driver keeps in slow host memory"
            )

    def time_steps(self, expected_seconds: float) -> tuple[tuple[float, ...], float | None]:
        """Return the seconds of steps on the first batch, which are queued without waiting for the device in between, and the
        shortest time to queue one: the host waits while the queue is full. If the allocator empties its cache in them, they
        are repeated, since they may be the last before memory is steady."""
        duration = self._duration
        if self._batch is None:
            with self._device.track():
                self._batch = self._moved(self._first)
        self._run.model.train()
        wanted = math.ceil(duration.seconds / max(expected_seconds, 1e-9))
        num_steps = 1 if self._progress.growth else min(max(wanted, duration.min_steps), duration.max_steps)
        measured = self._timed(self._batch, num_steps)
        return self._timed(self._batch, num_steps) if self._progress.timed_flushes[0] else measured

    def try_last_partial(self) -> Failed | None:
        """Train on the last, partial batch of an epoch, unless it is a single sample, which training skips. Errors of the
        task's code are returned, since training can skip this batch; a lack of memory is raised."""
        train = self._task.train
        num_left = 0 if is_unbounded(train) else num_samples(train) % self._run.settings.batch_size
        if num_left < 2:
            return None
        self._progress.stage = "training on the data set's last, partial batch"
        self._batch = None
        try:
            with self._device.track():
                self._train(self._loaded(train, self._rankings[0].largest(num_left)[0]))
                self._device.synchronize()
        except Exception as error:
            failed = failed_by(error)
            if failed is None or failed.outcome in MEMORY_OUTCOMES:
                raise
            return failed
        return None

    def _train(self, batch: Batch) -> Tensor:
        self._progress.num_samples += batch.num_samples
        return self._run.train_step(batch)

    def _moved(self, on_host: Batch) -> Batch:
        """Move a batch to the device. It is copied even on the CPU, so that it counts there as on a GPU."""
        return on_host.to(self._device.torch_device, copy=True)

    def _loaded(self, data: Any, indices: Indices) -> Batch:
        with self._device.untracked():
            on_host = load_batch(self._task, data, indices)
        return self._moved(on_host)

    def _timed_once(self, batch: Batch) -> Timed:
        self._device.synchronize()
        started, num_retries = time.perf_counter(), self._device.num_alloc_retries()
        loss = self._train(batch)
        self._device.synchronize()
        self._progress.timed_flushes = self._device.num_alloc_retries() - num_retries, 1
        return Timed((time.perf_counter() - started,), float(loss))

    def _timed(self, batch: Batch, num_steps: int) -> tuple[tuple[float, ...], float | None]:
        device, num_retries = self._device, self._device.num_alloc_retries()
        marks, host_seconds = [device.mark()], []
        for _ in range(num_steps):
            began = time.perf_counter()
            self._train(batch)
            host_seconds.append(time.perf_counter() - began)
            marks.append(device.mark())
        seconds = device.seconds_between(marks)
        if num_steps > 0:
            self._progress.timed_flushes = device.num_alloc_retries() - num_retries, num_steps
        return seconds, min(host_seconds, default=None) if device.is_asynchronous else None

    def _validation_samples(self) -> Any:
        """Return the largest validation samples: one batch for each measure, and at least two batches if possible."""
        val = self._task.val
        size = min(self._run.settings.batch_size, num_samples(val))
        orders = self._rankings[1].largest(size)
        chosen = np.concatenate(orders if len(orders) > 1 or size == num_samples(val) else orders * 2)
        return Subset(as_dataset(val), chosen.tolist())

    def _growth(self) -> MemoryGrowth | None:
        """Return the growth of memory per step, after reference cycles have been collected."""
        progress, device = self._progress, self._device
        if growth_per_step(progress.live_bytes) is None:
            return None
        gc.collect()
        progress.live_bytes[-1] = device.live_bytes() or 0
        rate, reading = growth_per_step(progress.live_bytes), device.read_memory()
        if rate is None or reading is None or device.limit_bytes is None:
            return None
        context_bytes = 0 if device.memory is None else device.memory.context_bytes
        left_bytes = device.limit_bytes - context_bytes - reading.peak_allocated_bytes
        return growth_until_full(rate, left_bytes, progress.num_batches)


def _safe_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Replace metric functions of the user, which may be undefined for a few samples. Outputs are kept for them as usual."""
    return {
        name: _no_metric if callable(metric) and not has_updates(metric) else metric for name, metric in metrics.items()
    }


def _no_metric(outputs: Any, targets: Any) -> float:
    return 0.0
