"""One batch size tried for real: a fresh model and optimizer, whole training steps, the data set's last partial batch, an
evaluation step, then the clock."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass, replace

from probe.batch.decide import Plan
from probe.batch.records import MEMORY_OUTCOMES, Attempt, Outcome
from probe.device.failures import find_failure
from probe.device.protocol import Device
from probe.device.resident_memory import peak_resident_bytes, reset_peak_resident
from probe.errors import ProbeError, UserCodeError
from probe.records import MemoryReading
from probe.task import Task, user_code_error
from probe.training.batch import Batch
from probe.training.data import is_unbounded, largest_batch, num_samples
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings
from probe.training.step import matmul_precision


@dataclass(frozen=True, slots=True)
class _Duration:
    num_warmup_steps: int
    """At least 3: optimizer state appears in the first step and is resident from the second on."""
    min_steps: int
    max_steps: int
    seconds: float


_QUICK = _Duration(num_warmup_steps=3, min_steps=3, max_steps=30, seconds=0.5)


@dataclass(frozen=True, slots=True)
class _Failed:
    outcome: Outcome
    message: str
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class _Timed:
    step_seconds: tuple[float, ...]
    loss: float
    partial: _Failed | None
    """What the task's code had against the data set's last, partial batch."""


def run_attempt(
    task: Task,
    settings: TrainerSettings,
    *,
    device: Device,
    plan: Plan,
    seed: int,
    confirm_steps: int,
    confirm_seconds: float,
) -> Attempt:
    """Try `plan.batch_size` on `device`. Running out of memory is a value, and so is an error of the task's code: whether it
    is a limit, a batch that is too small or a bug is known only beside other sizes.

    A confirming attempt trains at least `confirm_steps`, of which at least `confirm_seconds` are timed.

    Raises ProbeError where the task breaks its contract, whatever the size.
    """
    device.reset_peaks()
    reset_peak_resident()
    size = plan.batch_size
    sized = replace(settings, batch_size=size, accumulation=min(settings.accumulation, size))
    ended = _guarded(task, sized, device, seed, _duration(plan, confirm_steps, confirm_seconds))
    memory = device.read_memory()
    host_peak_bytes = peak_resident_bytes()
    try:
        device.release()  # here, where no exception and none of its frames is left
    except RuntimeError:
        if not isinstance(ended, _Failed):
            raise
        # An illegal access leaves a CUDA context in which every call fails; `ended` says what began it.
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
            traceback=ended.traceback,
        )
    return _fitting(plan, ended, memory, host_peak_bytes)


def _fitting(plan: Plan, timed: _Timed, memory: MemoryReading | None, host_peak_bytes: int | None) -> Attempt:
    seconds = timed.step_seconds
    median = statistics.median(seconds)
    low, _, high = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else [median] * 3
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
        message=_oddity(timed),
        traceback=None if timed.partial is None else timed.partial.traceback,
    )


def _oddity(timed: _Timed) -> str | None:
    if timed.partial is not None:
        quoted = _first_line(timed.partial.message)
        return (
            f"an epoch's last batch, which is smaller, ends in an error ({quoted}): leave it out of training, or make the "
            "number of training samples a multiple of the batch size"
        )
    if math.isfinite(timed.loss):
        return None
    return f"the loss is {timed.loss}: memory and speed are measured all the same"


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


def _guarded(task: Task, settings: TrainerSettings, device: Device, seed: int, duration: _Duration) -> _Timed | _Failed:
    """The one place where running out of memory is caught. Nothing of the exception leaves it."""
    stages = ["training"]
    try:
        return _measure(task, settings, device, seed, duration, stages)
    except Exception as error:
        failed = _failed(error)
        if failed is None:
            raise
        if failed.outcome not in MEMORY_OUTCOMES:
            return failed
        in_eval = failed.outcome == "oom" and stages[-1] == "evaluation"
        return _Failed("oom_in_eval" if in_eval else failed.outcome, f"in {stages[-1]}: {failed.message}")


def _failed(error: Exception) -> _Failed | None:
    """What an exception says about the size; None for probe's own errors, which have nothing to do with it."""
    failure, culprit = find_failure(error)
    if failure in ("oom", "host_oom"):
        return _Failed(failure, _first_line(str(culprit)) or type(culprit).__name__)
    if isinstance(error, ProbeError) and not isinstance(error, UserCodeError):
        return None
    told = error if isinstance(error, UserCodeError) else user_code_error(f"{type(error).__name__}: {error}", error)
    return _Failed(failure or "error", told.message, told.traceback)


def _measure(
    task: Task, settings: TrainerSettings, device: Device, seed: int, duration: _Duration, stages: list[str]
) -> _Timed:
    """`stages` grows as the attempt goes on, so that a failure can say where it was."""
    on_host = largest_batch(task, settings.batch_size)
    last_on_host = _last_partial_batch(task, settings.batch_size)
    with matmul_precision(settings.precision):
        with device.track():
            # Where the loss is not finite, the optimizer moves all the same: its memory is what is asked for.
            run = TrainingRun(task, settings, device=device, seed=seed, stops_at_nan=False)
            # Copied on the CPU, too, so that the batch counts there as it does on a GPU.
            batch = on_host.to(device.torch_device, copy=True)
            run.model.train()
            for _ in range(duration.num_warmup_steps - 1):
                run.train_step(batch)
            expected_seconds, loss = _timed_once(run, batch, device)
            stages.append("evaluation")
            run.eval_step(batch)
            device.synchronize()
        stages.append("training")
        run.model.train()
        seconds = _time_steps(run, batch, device, duration, expected_seconds)
        partial = None
        if last_on_host is not None:
            stages.append("training on the data set's last, partial batch")
            del batch  # in training, too, one batch makes room for the next
            partial = _refusal(run, last_on_host, device)
        return _Timed(seconds, loss, partial)


def _refusal(run: TrainingRun, on_host: Batch, device: Device) -> _Failed | None:
    """Train on a partial batch. What the task's code has against it is a warning, as training can leave that batch out; a lack
    of memory is raised."""
    try:
        with device.track():
            run.train_step(on_host.to(device.torch_device, copy=True))
            device.synchronize()
    except Exception as error:
        failed = _failed(error)
        if failed is None or failed.outcome in MEMORY_OUTCOMES:
            raise
        return failed
    return None


def _last_partial_batch(task: Task, batch_size: int) -> Batch | None:
    """What an epoch ends with, on the CPU: the samples that do not fill a batch; None where there are none, or a single
    one, which training leaves out."""
    if is_unbounded(task.train):
        return None
    num_left = num_samples(task.train) % batch_size
    return largest_batch(task, num_left) if num_left > 1 else None


def _timed_once(run: TrainingRun, batch: Batch, device: Device) -> tuple[float, float]:
    """Seconds of one step, and its loss."""
    device.synchronize()
    started = time.perf_counter()
    loss = run.train_step(batch)
    device.synchronize()
    return time.perf_counter() - started, float(loss)


def _time_steps(
    run: TrainingRun, batch: Batch, device: Device, duration: _Duration, expected_seconds: float
) -> tuple[float, ...]:
    """Seconds of steps that are queued without waiting for the device between them, as in training."""
    wanted = math.ceil(duration.seconds / max(expected_seconds, 1e-9))
    num_steps = min(max(wanted, duration.min_steps), duration.max_steps)
    marks = [device.mark()]
    for _ in range(num_steps):
        run.train_step(batch)
        marks.append(device.mark())
    return tuple(device.seconds_between(marks))


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")
