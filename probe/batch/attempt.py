"""Try one batch size with real training steps, and turn running out of memory into an outcome."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from probe.batch.decide import Duration, NextAttempt
from probe.batch.measure import Failed, Timed, failed_by, measure
from probe.batch.progress import VALIDATION, Progress
from probe.batch.records import MEMORY_OUTCOMES, Attempt
from probe.batch.sample_ranking import SampleRanking
from probe.device.environment import peak_resident_bytes, reset_peak_resident
from probe.device.failures import guarded
from probe.device.protocol import Device
from probe.errors import first_line
from probe.task import Task
from probe.training.settings import TrainerSettings


def run_attempt(
    task: Task,
    settings: TrainerSettings,
    upcoming: NextAttempt,
    *,
    device: Device,
    seed: int,
    rankings: Sequence[SampleRanking],
    duration: Duration,
) -> Attempt:
    """Try `upcoming.batch_size`. Running out of memory is an outcome of the attempt. So is an error of the task's code, because
    only other sizes show whether it is a limit, too small a batch or a bug. Raises ProbeError if the task breaks its contract
    at any size."""
    device.reset_peaks()
    reset_peak_resident()
    size = upcoming.batch_size
    sized = replace(settings, batch_size=size, gradient_accumulation=min(settings.gradient_accumulation, size))
    progress = Progress()
    ended = guarded(
        lambda: measure(task, sized, device, seed, duration, rankings, progress), partial(_failure, progress)
    )
    memory = device.read_memory()
    host_peak_bytes = peak_resident_bytes()
    try:
        device.release()  # outside of the handler, where no frame of an exception keeps tensors alive
    except RuntimeError:
        if not isinstance(ended, Failed):
            raise
        # After an illegal access every call to the CUDA context fails; `ended` has the original error.
    thrashing = progress.thrashing
    if isinstance(ended, Timed) and thrashing is not None:
        ended = Failed("thrashes", "the allocator emptied its cache {} times in {} steady steps".format(*thrashing))
    return replace(
        upcoming.failed(ended.outcome, ended.message, ended.traceback)
        if isinstance(ended, Failed)
        else _fitting(upcoming, ended),
        memory=memory,
        host_peak_bytes=host_peak_bytes,
        num_samples=progress.num_samples,
        num_batches=progress.num_batches,
        batches_per_epoch=progress.batches_per_epoch,
        growth=progress.growth_until_failure if isinstance(ended, Failed) else progress.growth,
    )


def _fitting(upcoming: NextAttempt, timed: Timed) -> Attempt:
    seconds = timed.step_seconds
    median = statistics.median(seconds)
    low, _, high = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else [median] * 3
    return Attempt(
        batch_size=upcoming.batch_size,
        purpose=upcoming.purpose,
        outcome="fits",
        num_steps=len(seconds),
        step_seconds=median,
        step_seconds_low=low,
        step_seconds_high=high,
        samples_per_second=upcoming.batch_size / median,
        host_seconds=timed.host_seconds,
        message=_remark(timed),
        traceback=None if timed.partial is None else timed.partial.traceback,
    )


def _remark(timed: Timed) -> str | None:
    if timed.partial is not None:
        quoted = first_line(timed.partial.message)
        return (
            f"an epoch's last batch, which is smaller, ends in an error ({quoted}): leave it out of training, or make the "
            "number of training samples a multiple of the batch size"
        )
    if math.isfinite(timed.loss):
        return None
    return f"the loss is {timed.loss}; memory and speed were measured nevertheless"


def _failure(progress: Progress, error: Exception) -> Failed | None:
    """The outcome that an exception stands for; None if it has nothing to do with the batch size."""
    failed = failed_by(error)
    if failed is None or failed.outcome not in MEMORY_OUTCOMES:
        return failed
    in_validation = failed.outcome == "oom" and progress.stage == VALIDATION
    return Failed("oom_in_eval" if in_validation else failed.outcome, f"in {progress.stage}: {failed.message}")
