"""Look at a task before its variants are compared: whether it has convolutions, and what its data loader delivers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from probe.batch.records import LoaderSpeed
from probe.errors import first_line
from probe.tasks.source import TaskSource
from probe.workers.death import WorkerDied
from probe.workers.worker import Worker

if TYPE_CHECKING:
    from probe.loading.epoch_batches import LoadedBatches

MAX_SECONDS = 3.0
"""Time for which a loader is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLook:
    """What is known about a task besides its batch sizes."""

    has_convolutions: bool = False
    """Whether some weights have a memory format with channels last."""
    loader: tuple[LoaderSpeed, ...] = ()


def look_at_task(
    source: TaskSource,
    params: Mapping[str, Any],
    *,
    batch_size: int,
    in_process: bool,
    env: Mapping[str, str],
    begin: Callable[[str], None] | None,
    announce: Callable[[LoaderSpeed], None],
) -> TaskLook:
    """Build the task in a child process with the variables `env`, or in this process, and measure its loader without and with
    workers."""
    speeds = []
    with nullcontext() if in_process else Worker(env=env) as worker:
        call = _in_process if worker is None else worker.call
        has_convolutions, worker_counts = call(_look, source, params, batch_size)
        if worker_counts and begin is not None:
            begin("data loader")
        for num_workers in worker_counts:
            speed = LoaderSpeed(num_workers=num_workers, batch_size=batch_size)
            try:
                speed = call(_measured, speed, source, params)
            except WorkerDied as death:
                speeds.append(replace(speed, failure=first_line(death)))
                break
            speeds.append(speed)
            announce(speed)
    return TaskLook(has_convolutions=has_convolutions, loader=tuple(speeds))


def _in_process(function: Callable[..., Any], *args: Any) -> Any:
    import torch

    from probe.loading.random_state import random_state_kept

    with random_state_kept(torch.device("cpu")):
        return function(*args)


def _look(source: TaskSource, params: Mapping[str, Any], batch_size: int) -> tuple[bool, tuple[int, ...]]:
    """Return whether the model has convolutions, and the numbers of workers to measure: none if the training samples are not
    loaded one by one, and only 0 if workers would not help or are not safe."""
    from torch.nn.parameter import is_lazy

    from probe.loading.dataset import as_tensors, is_unbounded, samples_to_load
    from probe.loading.epoch_batches import BatchCollate
    from probe.loading.loader_workers import default_workers
    from probe.training.building import build_task

    task = build_task(source, params)
    has_convolutions = any(is_lazy(weight) or weight.dim() in (4, 5) for weight in task.model().parameters())
    if is_unbounded(task.train) or as_tensors(task.train, task) is not None:
        return has_convolutions, ()
    data, collate = samples_to_load(task.train, task), BatchCollate(task.collate)
    return has_convolutions, tuple(sorted({0, task.num_workers or default_workers(data, collate, batch_size)}))


def _measured(speed: LoaderSpeed, source: TaskSource, params: Mapping[str, Any]) -> LoaderSpeed:
    """Read shuffled batches for some seconds. An error of the loader is part of the record."""
    from probe.device.cpu import CpuDevice
    from probe.loading.dataset import samples_to_load
    from probe.loading.epoch_batches import LoadedBatches
    from probe.training.building import build_task

    task = replace(build_task(source, params), num_workers=speed.num_workers)
    try:
        batches = LoadedBatches(
            task,
            samples_to_load(task.train, task),
            batch_size=speed.batch_size,
            device=CpuDevice(),
            seed=0,
            shuffle=True,
        )
        num_batches, rate = _read(batches, speed.num_workers)
    except Exception as error:
        lines = str(error).strip().splitlines()
        # An error in a worker is raised again with its whole traceback as message.
        is_remote = lines and "in DataLoader worker process" in lines[0]
        return replace(speed, failure=lines[-1] if is_remote else f"{type(error).__name__}: {first_line(error)}")
    return replace(speed, num_batches=num_batches, samples_per_second=rate)


def _read(batches: LoadedBatches, num_workers: int) -> tuple[int, float]:
    """Return the number of batches and the samples per second. The first batch of each worker, which waits for its start, does
    not count, unless an epoch is too short."""
    endless = batches.endless()
    num_first = max(1, num_workers)
    if batches.num_batches >= 2 * num_first:
        for _ in islice(endless, num_first):
            pass
    num_batches = num_samples = 0
    seconds, started = 0.0, time.perf_counter()
    while seconds < MAX_SECONDS:
        num_samples += next(endless).num_samples
        num_batches += 1
        seconds = time.perf_counter() - started
    return num_batches, num_samples / seconds
