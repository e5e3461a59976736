"""`probe.find_batch_size`: find the largest batch that fits, and the smallest that is fast enough."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from probe.batch.alternatives import find_alternatives
from probe.batch.context import CONFIRM_SECONDS, CONFIRM_STEPS, ProbeConfig
from probe.batch.decide import Limits, NextAttempt, fatal_error, largest_fit
from probe.batch.errors_by_size import is_suspect, next_check
from probe.batch.records import Attempt, BatchResult
from probe.batch.runner import AttemptRunner, ChildRunner, InProcessRunner
from probe.batch.sweep import Observer, SweepOptions, error_at_every_size, run_sweep
from probe.device.select import DeviceSpec, parse_device, seen_alone
from probe.errors import UsageError
from probe.records import RunOrigin
from probe.task import Task
from probe.tasks.source import TaskSource, as_source


def find_batch_size(
    task: Task | TaskSource,
    *,
    params: Mapping[str, Any] | None = None,
    device: str | DeviceSpec = "auto",
    memory: str | None = None,
    start: int | None = None,
    max: int | None = None,
    seed: int = 0,
    observer: Observer | None = None,
    predict: bool = True,
    in_process: bool = False,
    confirm_steps: int = CONFIRM_STEPS,
    confirm_seconds: float = CONFIRM_SECONDS,
    origin: RunOrigin | None = None,
    options: SweepOptions | None = None,
) -> BatchResult:
    """Find the largest batch that fits into memory and the smallest that is fast enough.

    The sweep tries powers of two with real training steps, in child processes.

    Args:
        task: the task to train.
        params: hyperparameters of the trainer (optimizer, precision, activation_checkpointing, ...) and of the task.
        device: `auto` is the first GPU. Without a GPU nothing is run, and the result consists of `predictions`.
        memory: a size like `8GiB`. A CUDA device emulates a smaller GPU of this size, the CPU is limited to it, and without
            a GPU it is the size of the GPU to predict for.
        start: first size; by default the predicted size, or 512 without a prediction.
        max: largest size; by default the size of the training set.
        seed: seed of the weights and the order of the data.
        observer: called with every Attempt.
        predict: predict the result first, so that the sweep starts close to it.
        in_process: make the attempts in this process, for a task that cannot be pickled. A crash then ends this process.
        confirm_steps: number of shuffled batches in the last attempt, which confirms the largest size and also trains for
            at least one epoch; 0 for no such attempt.
        confirm_seconds: time after which that attempt ends with either `confirm_steps` batches or one epoch.
        origin: command line and recipe, stored in the result.
        options: options for a search or the command line.

    Raises:
        UserCodeError: the task's code raised at every batch size. Its `result` is the BatchResult measured until then.
        UsageError, TaskError: an argument is not valid, or the task breaks its contract.
        DeviceError: the device cannot be used, or there is no GPU and its memory cannot be predicted.
    """
    options = options or SweepOptions()
    config = replace(
        _config(task, params=params, device=device, memory=memory, seed=seed, predict=predict, in_process=in_process),
        confirm_steps=confirm_steps,
        confirm_seconds=confirm_seconds,
        timed=not options.size_only,
        rankings=options.rankings,
        origin=origin or RunOrigin(),
    )
    limits = Limits(
        start=start, max=max, size_only=options.size_only, curve_sizes=options.curve_sizes, confirms=confirm_steps > 0
    )
    return _find(config, limits, options, observer, in_process=in_process)


def _find(
    config: ProbeConfig, limits: Limits, options: SweepOptions, observer: Observer | None, *, in_process: bool
) -> BatchResult:
    result, error = run_sweep(
        _runner(config, in_process=in_process),
        task=config.source.title,
        limits=limits,
        predict=config.predict,
        observer=observer,
        options=options,
    )
    if not options.size_only:
        with suppress(KeyboardInterrupt):  # the measured result is kept without the predicted alternatives
            result = replace(result, alternatives=find_alternatives(config, result, in_process=in_process))
    if error is not None:
        error.result = result
        raise error
    return result


def try_batch_size(
    task: Task | TaskSource,
    batch_size: int,
    *,
    params: Mapping[str, Any] | None = None,
    device: str | DeviceSpec = "auto",
    memory: str | None = None,
    seed: int = 0,
    in_process: bool = False,
) -> Attempt:
    """Train a few steps with batches of exactly `batch_size` samples, which need not be a power of two.

    After an error that is not known to be a lack of memory, other sizes are tried to find its cause.

    Args:
        task: the task to train.
        batch_size: number of samples in a batch.
        params, device, memory, seed, in_process: as in `find_batch_size`.

    Raises:
        UsageError: `batch_size` is below 1 or above the size of the training set.
        UserCodeError: the task's code raised at every batch size that was tried.
        TaskError, DeviceError: as in `find_batch_size`.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise UsageError(f"A batch size must be an integer of at least 1, not {batch_size!r}.")
    config = _config(task, params=params, device=device, memory=memory, seed=seed, predict=False, in_process=in_process)
    runner = _runner(config, in_process=in_process)
    try:
        info = runner.open()
        if info.num_samples is not None and batch_size > info.num_samples:
            raise UsageError(
                f"A batch of {batch_size} samples is larger than the training set of {info.num_samples} samples."
            )
        attempts = [runner.run(NextAttempt(batch_size, "size"))]
        while is_suspect(attempts[0]) and largest_fit(attempts) is None:
            check = next_check(attempts, bound=info.num_samples, task_batch_size=info.task_batch_size)
            if check is None:
                break
            attempts.append(runner.run(NextAttempt(check, "size")))
        if fatal_error(attempts):
            raise error_at_every_size(attempts)
        return attempts[0]
    finally:
        runner.close()


def fits(task: Task | TaskSource, batch_size: int, **options: Any) -> bool:
    """Return whether batches of exactly `batch_size` samples fit. Arguments and errors are those of `try_batch_size`."""
    return try_batch_size(task, batch_size, **options).fits


def _config(
    task: Task | TaskSource,
    *,
    params: Mapping[str, Any] | None,
    device: str | DeviceSpec,
    memory: str | None,
    seed: int,
    predict: bool,
    in_process: bool,
) -> ProbeConfig:
    spec = device if isinstance(device, DeviceSpec) else parse_device(device, memory=memory)
    if not in_process:
        spec = seen_alone(spec)
    return ProbeConfig(source=as_source(task), params=dict(params or {}), device=spec, seed=seed, predict=predict)


def _runner(config: ProbeConfig, *, in_process: bool) -> AttemptRunner:
    return InProcessRunner(config) if in_process else ChildRunner(config)
