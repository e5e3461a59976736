"""One batch size tried for real: a fresh model and optimizer, whole training steps, the data set's last partial batch, an
evaluation step, then the clock."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from probe.batch.decide import SIZE_STEPS, Plan
from probe.batch.records import Attempt, Outcome
from probe.device.failures import classify_failure
from probe.device.protocol import Device
from probe.device.resident_memory import peak_resident_bytes, reset_peak_resident
from probe.errors import ProbeError
from probe.records import MemoryReading
from probe.task import Task, user_code_error
from probe.training.data import is_unbounded, largest_batch, num_samples
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings
from probe.training.step import matmul_precision
from probe.training.trees import map_tensors


@dataclass(frozen=True, slots=True)
class _Duration:
    num_warmup_steps: int
    """At least 3: optimizer state appears in the first step and is resident from the second on."""
    min_steps: int
    max_steps: int
    seconds: float


_QUICK = _Duration(num_warmup_steps=SIZE_STEPS, min_steps=3, max_steps=30, seconds=0.5)
_UNTIMED = _Duration(num_warmup_steps=SIZE_STEPS, min_steps=0, max_steps=0, seconds=0.0)


@dataclass(frozen=True, slots=True)
class _Timed:
    step_seconds: tuple[float, ...]
    loss: float


@dataclass(frozen=True, slots=True)
class _Failed:
    outcome: Outcome
    message: str


@dataclass(slots=True)
class _Progress:
    """How far an attempt came, for when an exception ends it."""

    stage: str = "training"
    num_samples: int = 0
    """That its training steps saw, the one counted that has begun."""

    def step(self, run: TrainingRun, batch: Any, size: int) -> torch.Tensor:
        self.num_samples += size
        return run.train_step(batch)


def run_attempt(
    task: Task,
    settings: TrainerSettings,
    *,
    device: Device,
    plan: Plan,
    seed: int,
    confirm_steps: int,
    confirm_seconds: float,
    timed: bool = True,
) -> Attempt:
    """Try `plan.batch_size` on `device`. Running out of memory is a value; what else goes wrong is raised.

    A confirming attempt trains at least `confirm_steps`, of which at least `confirm_seconds` are timed. Where it need not be
    `timed`, it ends after SIZE_STEPS steps and the data set's last, partial batch.

    Raises UserCodeError with the user's traceback, or the ProbeError that the task's code met.
    """
    device.reset_peaks()
    reset_peak_resident()
    size = plan.batch_size
    sized = replace(settings, batch_size=size, accumulation=min(settings.accumulation, size))
    progress = _Progress()
    duration = _duration(plan, confirm_steps, confirm_seconds) if timed else _UNTIMED
    ended = _guarded(task, sized, device, seed, duration, progress)
    memory = device.read_memory()
    host_peak_bytes = peak_resident_bytes()
    device.release()  # here, where no exception and none of its frames is left
    if isinstance(ended, _Timed) and memory is not None and memory.num_alloc_retries > 0:
        times = f"{memory.num_alloc_retries} times"
        ended = _Failed("thrashes", f"the allocator emptied its cache {times} to serve a request")
    if isinstance(ended, _Failed):
        return Attempt(
            batch_size=size,
            purpose=plan.purpose,
            outcome=ended.outcome,
            memory=memory,
            host_peak_bytes=host_peak_bytes,
            message=ended.message,
            num_samples=progress.num_samples,
        )
    return replace(_fitting(plan, ended, memory, host_peak_bytes), num_samples=progress.num_samples)


def _fitting(plan: Plan, timed: _Timed, memory: MemoryReading | None, host_peak_bytes: int | None) -> Attempt:
    seconds = timed.step_seconds
    median = statistics.median(seconds)
    low, _, high = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else [median] * 3
    is_odd = not math.isfinite(timed.loss)
    return Attempt(
        batch_size=plan.batch_size,
        purpose=plan.purpose,
        outcome="fits",
        num_steps=len(seconds),
        step_seconds=median,
        step_seconds_low=low,
        step_seconds_high=high,
        samples_per_second=plan.batch_size / median,
        memory=memory,
        host_peak_bytes=host_peak_bytes,
        message=f"the loss is {timed.loss}: memory and speed are measured all the same" if is_odd else None,
    )


def _duration(plan: Plan, confirm_steps: int, confirm_seconds: float) -> _Duration:
    if plan.purpose != "confirm":
        return _QUICK
    num_warmup_steps = max(_QUICK.num_warmup_steps, min(5, confirm_steps // 2))
    min_steps = max(1, confirm_steps - num_warmup_steps)
    return _Duration(
        num_warmup_steps=num_warmup_steps,
        min_steps=min_steps,
        max_steps=max(1000, min_steps),
        seconds=confirm_seconds,
    )


def _guarded(
    task: Task, settings: TrainerSettings, device: Device, seed: int, duration: _Duration, progress: _Progress
) -> _Timed | _Failed:
    """The one place where running out of memory is caught. Nothing of the exception leaves it."""
    try:
        return _measure(task, settings, device, seed, duration, progress)
    except ProbeError:
        raise
    except Exception as error:
        failure = classify_failure(error)
        if failure is not None:
            in_eval = failure == "oom" and progress.stage == "evaluation"
            return _Failed("oom_in_eval" if in_eval else failure, f"in {progress.stage}: {_first_line(error)}")
        bug = user_code_error(f"{type(error).__name__}: {error}", error)
    raise bug  # out here, where it does not take `error` and its frames' tensors along as its context


def _measure(
    task: Task, settings: TrainerSettings, device: Device, seed: int, duration: _Duration, progress: _Progress
) -> _Timed:
    size = settings.batch_size
    on_host = largest_batch(task, settings.batch_size)
    last_on_host = _last_partial_batch(task, settings.batch_size)
    with matmul_precision(settings.precision):
        with device.track():
            # Where the loss is not finite, the optimizer moves all the same: its memory is what is asked for.
            run = TrainingRun(task, settings, device=device, seed=seed, stops_at_nan=False)
            batch = _on_device(on_host, device)
            run.model.train()
            for _ in range(duration.num_warmup_steps - 1):
                progress.step(run, batch, size)
            expected_seconds, loss = _timed_once(run, batch, device, progress)
            progress.stage = "evaluation"
            run.eval_step(batch)
            device.synchronize()
        progress.stage = "training"
        run.model.train()
        seconds = _time_steps(run, batch, device, duration, expected_seconds, progress) or (expected_seconds,)
        if last_on_host is not None:
            progress.stage = "training on the data set's last, partial batch"
            del batch  # in training, too, one batch makes room for the next
            with device.track():
                progress.step(run, _on_device(last_on_host, device), num_samples(task.train) % size)
                device.synchronize()
        return _Timed(seconds, loss)


def _last_partial_batch(task: Task, batch_size: int) -> Any:
    """What an epoch ends with, on the CPU: the samples that do not fill a batch; None where there are none, or a single
    one, which training leaves out."""
    if is_unbounded(task.train):
        return None
    num_left = num_samples(task.train) % batch_size
    return largest_batch(task, num_left) if num_left > 1 else None


def _on_device(on_host: Any, device: Device) -> Any:
    """A copy on the CPU as well, so that the batch counts there as it does on a GPU."""
    return map_tensors(lambda tensor: tensor.to(device.torch_device, copy=True), on_host)


def _timed_once(run: TrainingRun, batch: Any, device: Device, progress: _Progress) -> tuple[float, float]:
    """Seconds of one step, and its loss."""
    device.synchronize()
    started = time.perf_counter()
    loss = progress.step(run, batch, run.settings.batch_size)
    device.synchronize()
    return time.perf_counter() - started, float(loss)


def _time_steps(
    run: TrainingRun, batch: Any, device: Device, duration: _Duration, expected_seconds: float, progress: _Progress
) -> tuple[float, ...]:
    """Seconds of steps that are queued without waiting for the device between them, as in training."""
    wanted = math.ceil(duration.seconds / max(expected_seconds, 1e-9))
    num_steps = min(max(wanted, duration.min_steps), duration.max_steps)
    marks = [device.mark()]
    for _ in range(num_steps):
        progress.step(run, batch, run.settings.batch_size)
        marks.append(device.mark())
    return tuple(device.seconds_between(marks))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
