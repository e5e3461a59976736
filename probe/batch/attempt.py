"""One batch size tried for real, and what became of it: the place where running out of memory turns into a value."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from probe.batch.decide import Plan
from probe.batch.growth import growth_per_step
from probe.batch.measure import VALIDATION, Duration, Progress, Timed, duration_of, measure
from probe.batch.ranking import SampleRanking
from probe.batch.records import Attempt, MemoryGrowth, Outcome
from probe.device.failures import classify_failure
from probe.device.protocol import Device
from probe.device.resident_memory import peak_resident_bytes, reset_peak_resident
from probe.errors import ProbeError
from probe.task import Task, user_code_error
from probe.training.settings import TrainerSettings


@dataclass(frozen=True, slots=True)
class _Failed:
    outcome: Outcome
    message: str


def run_attempt(
    task: Task,
    settings: TrainerSettings,
    *,
    device: Device,
    plan: Plan,
    seed: int,
    rankings: Sequence[SampleRanking],
    confirm_steps: int,
    confirm_seconds: float,
) -> Attempt:
    """Try `plan.batch_size` on `device`. Running out of memory is a value; what else goes wrong is raised.

    Args:
        rankings: of `probe.batch.sizing.rank_samples`.
        confirm_steps, confirm_seconds: a confirming attempt trains on so many shuffled batches of the data set and at least
            one epoch; after that time, on one of the two.

    Raises UserCodeError with the user's traceback, or the ProbeError that the task's code met.
    """
    device.reset_peaks()
    reset_peak_resident()
    size = plan.batch_size
    sized = replace(settings, batch_size=size, accumulation=min(settings.accumulation, size))
    duration = duration_of(plan.purpose, confirm_steps, confirm_seconds)
    progress = Progress()
    ended = _guarded(task, sized, device, seed, duration, rankings, progress)
    memory = device.read_memory()
    host_peak_bytes = peak_resident_bytes()
    device.release()  # here, where no exception and none of its frames is left
    if isinstance(ended, Timed) and memory is not None and memory.num_alloc_retries > 0:
        times = f"{memory.num_alloc_retries} times"
        ended = _Failed("thrashes", f"the allocator emptied its cache {times} to serve a request")
    attempt = _failed(plan, ended) if isinstance(ended, _Failed) else _fitting(plan, ended)
    return replace(
        attempt,
        memory=memory,
        host_peak_bytes=host_peak_bytes,
        num_batches=progress.num_batches,
        batches_per_epoch=progress.batches_per_epoch,
        growth=_growth_until(progress) if isinstance(ended, _Failed) else progress.growth,
    )


def _failed(plan: Plan, failed: _Failed) -> Attempt:
    return Attempt(batch_size=plan.batch_size, purpose=plan.purpose, outcome=failed.outcome, message=failed.message)


def _fitting(plan: Plan, timed: Timed) -> Attempt:
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
        message=f"the loss is {timed.loss}: memory and speed are measured all the same" if is_odd else None,
    )


def _growth_until(progress: Progress) -> MemoryGrowth | None:
    """Memory that grew in an attempt that failed: until the last batch."""
    rate = growth_per_step(progress.live_bytes)
    return None if rate is None else MemoryGrowth(bytes_per_step=rate, last_step=progress.num_batches)


def _guarded(
    task: Task,
    settings: TrainerSettings,
    device: Device,
    seed: int,
    duration: Duration,
    rankings: Sequence[SampleRanking],
    progress: Progress,
) -> Timed | _Failed:
    """The one place where running out of memory is caught. Nothing of the exception leaves it."""
    try:
        return measure(task, settings, device, seed, duration, rankings, progress)
    except ProbeError:
        raise
    except Exception as error:
        failure = classify_failure(error)
        if failure is not None:
            in_eval = failure == "oom" and progress.stage == VALIDATION
            return _Failed("oom_in_eval" if in_eval else failure, f"in {progress.stage}: {_first_line(error)}")
        bug = user_code_error(f"{type(error).__name__}: {error}", error)
    raise bug  # out here, where it does not take `error` and its frames' tensors along as its context


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
