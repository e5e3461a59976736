"""One batch size tried for real: a fresh model and optimizer, whole training steps, an evaluation step, then the clock."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass, replace
from typing import Any

from torch.utils.data import Subset, TensorDataset

from probe.batch.decide import Plan
from probe.batch.records import Attempt, Outcome
from probe.device.failures import classify_failure
from probe.device.protocol import Device
from probe.errors import ProbeError
from probe.task import Task, user_code_error
from probe.training.data import as_tensors, largest_batch
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


_QUICK = _Duration(num_warmup_steps=3, min_steps=3, max_steps=30, seconds=0.5)


@dataclass(frozen=True, slots=True)
class _Timed:
    num_steps: int
    step_seconds: float


@dataclass(frozen=True, slots=True)
class _Failed:
    outcome: Outcome
    message: str


def run_attempt(
    task: Task, settings: TrainerSettings, *, device: Device, plan: Plan, seed: int, confirm_seconds: float
) -> Attempt:
    """Try `plan.batch_size` on `device`. Running out of memory is a value; what else goes wrong is raised.

    A confirming attempt trains at least 10 steps, and at least `confirm_seconds` of them are timed.

    Raises UserCodeError with the user's traceback, or the ProbeError that the task's code met.
    """
    device.reset_peaks()
    size = plan.batch_size
    sized = replace(settings, batch_size=size, accumulation=min(settings.accumulation, size))
    ended = _guarded(task, sized, device, seed, _duration(plan, confirm_seconds))
    memory = device.read_memory()
    device.release()  # here, where no exception and none of its frames is left
    if isinstance(ended, _Timed) and memory is not None and memory.num_alloc_retries > 0:
        times = f"{memory.num_alloc_retries} times"
        ended = _Failed("thrashes", f"the allocator emptied its cache {times} to serve a request")
    if isinstance(ended, _Failed):
        return Attempt(
            batch_size=plan.batch_size,
            purpose=plan.purpose,
            outcome=ended.outcome,
            memory=memory,
            message=ended.message,
        )
    return Attempt(
        batch_size=plan.batch_size,
        purpose=plan.purpose,
        outcome="fits",
        num_steps=ended.num_steps,
        step_seconds=ended.step_seconds,
        samples_per_second=plan.batch_size / ended.step_seconds,
        memory=memory,
    )


def _duration(plan: Plan, confirm_seconds: float) -> _Duration:
    if plan.purpose != "confirm":
        return _QUICK
    return _Duration(num_warmup_steps=5, min_steps=5, max_steps=1000, seconds=confirm_seconds)


def with_tensors(task: Task) -> Task:
    """`task` with a map-style data set read into tensors once, where that is possible, instead of for every attempt."""
    if isinstance(task.train, (tuple, TensorDataset, Subset)):
        return task  # tensors already, or cheap to look through
    data = as_tensors(task.train, task)
    if data is None or not isinstance(data.tensors, (tuple, list)):
        return task
    whole = TensorDataset(*data.tensors)
    return replace(task, train=Subset(whole, data.indices.tolist()))


def _guarded(task: Task, settings: TrainerSettings, device: Device, seed: int, duration: _Duration) -> _Timed | _Failed:
    """The one place where running out of memory is caught. Nothing of the exception leaves it."""
    stages = ["training"]
    try:
        return _measure(task, settings, device, seed, duration, stages)
    except ProbeError:
        raise
    except Exception as error:
        failure = classify_failure(error)
        if failure is not None:
            in_eval = failure == "oom" and stages[-1] == "evaluation"
            return _Failed("oom_in_eval" if in_eval else failure, f"in {stages[-1]}: {_first_line(error)}")
        bug = user_code_error(f"{type(error).__name__}: {error}", error)
    raise bug  # out here, where it does not take `error` and its frames' tensors along as its context


def _measure(
    task: Task, settings: TrainerSettings, device: Device, seed: int, duration: _Duration, stages: list[str]
) -> _Timed:
    """`stages` grows as the attempt goes on, so that a failure can say where it was."""
    on_host = largest_batch(task, settings.batch_size)
    with matmul_precision(settings.precision):
        with device.track():
            run = TrainingRun(task, settings, device=device, seed=seed)
            # a copy on the CPU as well, so that the batch counts there as it does on a GPU
            batch = map_tensors(lambda tensor: tensor.to(device.torch_device, copy=True), on_host)
            run.model.train()
            for _ in range(duration.num_warmup_steps - 1):
                run.train_step(batch)
            expected_seconds = _timed_once(run, batch, device)
            stages.append("evaluation")
            run.eval_step(batch)
            device.synchronize()
        stages.append("training")
        run.model.train()
        return _time_steps(run, batch, device, duration, expected_seconds)


def _timed_once(run: TrainingRun, batch: Any, device: Device) -> float:
    device.synchronize()
    started = time.perf_counter()
    run.train_step(batch)
    device.synchronize()
    return time.perf_counter() - started


def _time_steps(run: TrainingRun, batch: Any, device: Device, duration: _Duration, expected_seconds: float) -> _Timed:
    """The median over steps that are queued without waiting for the device between them, as in training."""
    wanted = math.ceil(duration.seconds / max(expected_seconds, 1e-9))
    num_steps = min(max(wanted, duration.min_steps), duration.max_steps)
    marks = [device.mark()]
    for _ in range(num_steps):
        run.train_step(batch)
        marks.append(device.mark())
    return _Timed(num_steps, statistics.median(device.seconds_between(marks)))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
