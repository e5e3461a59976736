"""`probe.find_batch_size`: the largest batch that fits, and the smallest that is fast enough."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from probe.batch.alternatives import find_alternatives
from probe.batch.decide import Plan, fatal_error, largest_fit
from probe.batch.errors_by_size import is_suspect, next_check
from probe.batch.records import Attempt, BatchResult
from probe.batch.runner import AttemptRunner, ChildRunner, InProcessRunner
from probe.batch.session import CONFIRM_SECONDS, CONFIRM_STEPS, Request
from probe.batch.sweep import Announce, Observer, SweepOptions, error_at_every_size, run_sweep
from probe.device.select import DeviceSpec, parse_device
from probe.errors import ProbeError, UsageError
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
) -> BatchResult:
    """Sweep over powers of two with real training steps, in child processes.

    Args:
        params: hyperparameters: the trainer's (optimizer, precision, checkpointing, ...) and the task's own.
        device: `auto` is the first GPU; where there is none, nothing is run and `predictions` are the answer.
        memory: `8GiB`: let a CUDA device stand in for a smaller card; on the CPU, the simulated limit; without a GPU, the
            card to predict for.
        start, max: first and largest size. By default, what is predicted to fit, and the size of the training set.
        observer: called with every Attempt.
        predict: predict first, so that the sweep starts near its end.
        in_process: make the attempts in this process, for a task that cannot be sent to another one. An attempt that is
            killed, or that crashes, then takes this process with it.
        confirm_steps, confirm_seconds: after all other attempts, the winner trains again on so many shuffled batches of the
            data set and at least one epoch; after that time, on one of the two. No steps: it does not.

    Raises:
        UserCodeError: the task's own code raised at every batch size. `probe_batch_size` keeps what was measured until then.
        UsageError, TaskError, DeviceError: as their names say.
    """
    result, error = probe_batch_size(
        task,
        params=params,
        device=device,
        memory=memory,
        start=start,
        max=max,
        seed=seed,
        observer=observer,
        predict=predict,
        in_process=in_process,
        confirm_steps=confirm_steps,
        confirm_seconds=confirm_seconds,
        origin=origin or RunOrigin(),
    )
    if error is not None:
        raise error
    return result


def probe_batch_size(
    task: Task | TaskSource,
    *,
    params: Mapping[str, Any] | None = None,
    device: str | DeviceSpec = "auto",
    memory: str | None = None,
    start: int | None = None,
    max: int | None = None,
    size_only: bool = False,
    max_samples: int | None = None,
    seed: int = 0,
    observer: Observer | None = None,
    announce: Announce | None = None,
    predict: bool = True,
    in_process: bool = False,
    confirm_steps: int = CONFIRM_STEPS,
    confirm_seconds: float = CONFIRM_SECONDS,
    origin: RunOrigin | None = None,
) -> tuple[BatchResult, ProbeError | None]:
    """As `find_batch_size`, but an error of the task's own code comes beside what was measured before it.

    `size_only` leaves out the throughput curve, the confirmation and the timing. `max_samples`: training samples that such a
    sweep may see; it ends before the attempt that could take more. `announce` hears the Forecast, and the Plan of every
    attempt before it is made.
    """
    request = _request(
        task,
        params=params,
        device=device,
        memory=memory,
        seed=seed,
        predict=predict,
        confirm_steps=confirm_steps,
        confirm_seconds=confirm_seconds,
        timed=not size_only,
        origin=origin or RunOrigin(),
    )
    options = SweepOptions(
        start=start,
        max=max,
        card_bytes=request.device.limit_bytes,
        predict=predict,
        size_only=size_only,
        max_samples=max_samples,
        confirms=confirm_steps > 0,
    )
    result, error = run_sweep(
        _runner(request, in_process=in_process),
        task=request.source.title,
        options=options,
        observer=observer,
        announce=announce,
    )
    if not size_only:
        with suppress(KeyboardInterrupt):  # what was measured is not lost with what would only be predicted
            result = replace(result, alternatives=find_alternatives(request, result, in_process=in_process))
    return result, error


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
    """Train a few steps with batches of exactly `batch_size` samples, a power of two or not, and say how that went.

    After an error that is not known to be a lack of memory, other sizes are tried as well: an error at every size is raised.

    Raises as `find_batch_size`; UsageError also for a size below 1 or above the size of the training set.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise UsageError(f"A batch size is a whole number of at least 1, not {batch_size!r}.")
    request = _request(task, params=params, device=device, memory=memory, seed=seed, predict=False)
    runner = _runner(request, in_process=in_process)
    try:
        facts = runner.open()
        if facts.num_samples is not None and batch_size > facts.num_samples:
            raise UsageError(f"A batch of {batch_size} is more than the {facts.num_samples} training samples.")
        attempts = [runner.run(Plan(batch_size, "size"))]
        while is_suspect(attempts[0]) and largest_fit(attempts) is None:
            check = next_check(attempts, bound=facts.num_samples, own_size=facts.own_batch_size)
            if check is None:
                break
            attempts.append(runner.run(Plan(check, "size")))
        if fatal_error(attempts):
            raise error_at_every_size(attempts)
        return attempts[0]
    finally:
        runner.close()


def fits(task: Task | TaskSource, batch_size: int, **options: Any) -> bool:
    """Whether batches of exactly `batch_size` samples can be trained on: `try_batch_size` without the details."""
    return try_batch_size(task, batch_size, **options).fits


def _request(
    task: Task | TaskSource,
    *,
    params: Mapping[str, Any] | None,
    device: str | DeviceSpec,
    memory: str | None,
    **details: Any,
) -> Request:
    spec = device if isinstance(device, DeviceSpec) else parse_device(device, memory=memory)
    return Request(source=as_source(task), params=dict(params or {}), device=spec, **details)


def _runner(request: Request, *, in_process: bool) -> AttemptRunner:
    return InProcessRunner(request) if in_process else ChildRunner(request)
