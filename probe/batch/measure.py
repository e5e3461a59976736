"""Measure one batch size: training steps on the largest samples or shuffled batches, validation, timed steps, and the last,
partial batch of the data set."""

from __future__ import annotations

import gc
import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Subset

from probe.batch.decide import Duration, growth_per_step
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


@dataclass(frozen=True, slots=True)
class Failed:
    """Why an attempt, or a part of it, failed. It does not hold the exception, whose frames keep tensors alive."""

    outcome: Outcome
    message: str
    traceback: str | None = None


def failed_by(error: Exception) -> Failed | None:
    """Return the failure that `error` shows, or None for probe's own errors, which do not depend on the batch size."""
    failure, culprit = find_failure(error)
    if failure in ("oom", "host_oom"):
        return Failed(failure, first_line(culprit))
    if isinstance(error, ProbeError) and not isinstance(error, UserCodeError):
        return None
    wrapped = error if isinstance(error, UserCodeError) else user_code_error(f"{type(error).__name__}: {error}", error)
    return Failed(failure or "error", str(wrapped), wrapped.traceback)


MAX_STEPS_LEFT = 1_000_000
"""Growth of memory that lasts for more steps is ignored."""
TRAINING = "training"
VALIDATION = "validation"


@dataclass(frozen=True, slots=True)
class Timed:
    """The measurement of an attempt that fits."""

    step_seconds: tuple[float, ...]
    loss: float
    host_seconds: float | None = None
    """Shortest time in which the host queued a step; None if the device does not queue work."""
    partial: Failed | None = None
    """Error of the task's code at an epoch's last, partial batch."""


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
    growth: MemoryGrowth | None = None


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
        batches = self._repeated() if endless else filter(lambda batch: batch.num_samples == size, run.batches())
        started = time.perf_counter()
        has_enough = False
        while not has_enough:
            loss = self._train(next(batches))  # no reference, so that the batch is freed before the next is loaded
            progress.num_batches += 1
            progress.live_bytes.append(device.live_bytes() or 0)
            has_enough = self._has_enough(started)
            if has_enough or progress.num_batches % (progress.batches_per_epoch or 1) == 0:
                progress.growth = self._growth()
            has_enough = has_enough or self._runs_out_soon()
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

    def time_steps(self, expected_seconds: float) -> tuple[tuple[float, ...], float | None]:
        """Return the seconds of steps on the first batch, which are queued without waiting for the device in between, and the
        shortest time to queue one: the host waits while the queue is full."""
        duration, device = self._duration, self._device
        if self._batch is None:
            with device.track():
                self._batch = self._moved(self._first)
        self._run.model.train()
        wanted = math.ceil(duration.seconds / max(expected_seconds, 1e-9))
        num_steps = 1 if self._progress.growth else min(max(wanted, duration.min_steps), duration.max_steps)
        marks = [device.mark()]
        host_seconds = []
        for _ in range(num_steps):
            began = time.perf_counter()
            self._train(self._batch)
            host_seconds.append(time.perf_counter() - began)
            marks.append(device.mark())
        return tuple(device.seconds_between(marks)), min(host_seconds, default=None) if device.is_asynchronous else None

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
        started = time.perf_counter()
        loss = self._train(batch)
        self._device.synchronize()
        return Timed((time.perf_counter() - started,), float(loss))

    def _validation_samples(self) -> Any:
        """Return the largest validation samples: one batch for each measure, and at least two batches if possible."""
        val = self._task.val
        size = min(self._run.settings.batch_size, num_samples(val))
        orders = self._rankings[1].largest(size)
        chosen = np.concatenate(orders if len(orders) > 1 or size == num_samples(val) else orders * 2)
        return Subset(as_dataset(val), chosen.tolist())

    def _repeated(self) -> Iterator[Batch]:
        while True:
            yield self._moved(self._first)

    def _has_enough(self, started: float) -> bool:
        """Return whether `num_batches` and a whole epoch are done; when the time is over, one of the two is sufficient."""
        duration, progress = self._duration, self._progress
        per_epoch = progress.batches_per_epoch
        is_epoch = per_epoch is not None and progress.num_batches >= per_epoch
        is_wanted = progress.num_batches >= duration.num_batches
        if time.perf_counter() - started < duration.batch_seconds:
            return (is_epoch and is_wanted) or progress.num_batches >= duration.max_batches
        return is_epoch or is_wanted

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
        num_left = max(0, device.limit_bytes - context_bytes - reading.peak_allocated_bytes) / rate
        last_step = progress.num_batches + int(num_left)
        return MemoryGrowth(bytes_per_step=rate, last_step=last_step) if num_left < MAX_STEPS_LEFT else None

    def _runs_out_soon(self) -> bool:
        """Return whether memory grows and more batches would show nothing new."""
        progress, wanted = self._progress, self._duration.num_batches
        return progress.growth is not None and (progress.num_batches >= wanted or progress.growth.last_step <= wanted)


def _safe_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Replace metric functions of the user, which may be undefined for a few samples. Outputs are kept for them as usual."""
    return {
        name: _no_metric if callable(metric) and not has_updates(metric) else metric for name, metric in metrics.items()
    }


def _no_metric(outputs: Any, targets: Any) -> float:
    return 0.0
