"""One batch size tried for real, and what became of it: the place where running out of memory turns into a value."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

from probe.batch.decide import Plan
from probe.batch.duration import duration_of
from probe.batch.failures import Failed, failed_by
from probe.batch.growth import growth_per_step
from probe.batch.measure import VALIDATION, Progress, Timed, measure
from probe.batch.records import MEMORY_OUTCOMES, Attempt, MemoryGrowth
from probe.batch.samples.ranking import SampleRanking
from probe.device.memory import peak_resident_bytes, reset_peak_resident
from probe.device.protocol import Device
from probe.errors import first_line
from probe.task import Task
from probe.training.settings import TrainerSettings


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
    timed: bool = True,
) -> Attempt:
    """Try `plan.batch_size` on `device`. Running out of memory is a value, and so is an error of the task's code: whether it
    is a limit, a batch that is too small or a bug is known only beside other sizes.

    Args:
        rankings: of `probe.batch.samples.sizing.rank_samples`.
        confirm_steps, confirm_seconds: a confirming attempt trains on so many shuffled batches of the data set and at least
            one epoch; after that time, on one of the two.
        timed: measure the speed, too. Otherwise the attempt ends after the steps that tell whether the size fits.

    Raises ProbeError where the task breaks its contract, whatever the size.
    """
    device.reset_peaks()
    reset_peak_resident()
    size = plan.batch_size
    sized = replace(settings, batch_size=size, gradient_accumulation=min(settings.gradient_accumulation, size))
    duration = duration_of(plan.purpose, confirm_steps, confirm_seconds, timed=timed)
    progress = Progress()
    ended = _guarded(lambda: measure(task, sized, device, seed, duration, rankings, progress), progress)
    memory = device.read_memory()
    host_peak_bytes = peak_resident_bytes()
    try:
        device.release()  # here, where no exception and none of its frames is left
    except RuntimeError:
        if not isinstance(ended, Failed):
            raise
        # An illegal access leaves a CUDA context in which every call fails; `ended` says what began it.
    if isinstance(ended, Timed) and memory is not None and memory.num_alloc_retries > 0:
        times = f"{memory.num_alloc_retries} times"
        ended = Failed("thrashes", f"the allocator emptied its cache {times} to serve a request")
    attempt = _failed(plan, ended) if isinstance(ended, Failed) else _fitting(plan, ended)
    return replace(
        attempt,
        memory=memory,
        host_peak_bytes=host_peak_bytes,
        num_samples=progress.num_samples,
        num_batches=progress.num_batches,
        batches_per_epoch=progress.batches_per_epoch,
        growth=_growth_until(progress) if isinstance(ended, Failed) else progress.growth,
    )


def _failed(plan: Plan, failed: Failed) -> Attempt:
    return Attempt(
        batch_size=plan.batch_size,
        purpose=plan.purpose,
        outcome=failed.outcome,
        message=failed.message,
        traceback=failed.traceback,
    )


def _fitting(plan: Plan, timed: Timed) -> Attempt:
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
        message=_oddity(timed),
        traceback=None if timed.partial is None else timed.partial.traceback,
    )


def _oddity(timed: Timed) -> str | None:
    if timed.partial is not None:
        quoted = first_line(timed.partial.message)
        return (
            f"an epoch's last batch, which is smaller, ends in an error ({quoted}): leave it out of training, or make the "
            "number of training samples a multiple of the batch size"
        )
    if math.isfinite(timed.loss):
        return None
    return f"the loss is {timed.loss}: memory and speed are measured all the same"


def _growth_until(progress: Progress) -> MemoryGrowth | None:
    """Memory that grew in an attempt that failed: until the last batch."""
    rate = growth_per_step(progress.live_bytes)
    return None if rate is None else MemoryGrowth(bytes_per_step=rate, last_step=progress.num_batches)


def _guarded(attempt: Callable[[], Timed], progress: Progress) -> Timed | Failed:
    """The one place where running out of memory is caught. Nothing of the exception leaves it."""
    try:
        return attempt()
    except Exception as error:
        failed = failed_by(error)
        if failed is None:
            raise
        if failed.outcome not in MEMORY_OUTCOMES:
            return failed
        in_validation = failed.outcome == "oom" and progress.stage == VALIDATION
        return Failed("oom_in_eval" if in_validation else failed.outcome, f"in {progress.stage}: {failed.message}")
