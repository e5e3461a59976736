"""`probe.find_batch_size`: the largest batch that fits, and the smallest that is fast enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from probe.batch.decide import DEFAULT_START
from probe.batch.records import Attempt, BatchResult
from probe.batch.runner import CONFIRM_SECONDS, AttemptRunner, ChildRunner, InProcessRunner, Request
from probe.batch.sweep import run_sweep
from probe.device.select import DeviceSpec, parse_device
from probe.errors import ProbeError
from probe.task import Task
from probe.zoo.source import TaskSource, as_source


def find_batch_size(
    task: Task | TaskSource,
    *,
    params: Mapping[str, Any] | None = None,
    device: str | DeviceSpec = "auto",
    memory: str | None = None,
    start: int | None = None,
    max: int | None = None,
    seed: int = 0,
    observer: Callable[[Attempt], None] | None = None,
    in_process: bool = False,
    confirm_seconds: float = CONFIRM_SECONDS,
    argv: Sequence[str] = (),
    recipe_hash: str | None = None,
) -> BatchResult:
    """Sweep over powers of two with real training steps, in child processes.

    Args:
        params: hyperparameters: the trainer's (optimizer, precision, ...) and the task's own.
        memory: `8GiB`: let a CUDA device stand in for a smaller card; on the CPU, the simulated limit.
        start, max: first and largest size; 512, and the size of the training set, by default.
        observer: called with every Attempt.
        in_process: make the attempts in this process, for a task that cannot be sent to another one. An attempt that is
            killed, or that crashes, then takes this process with it.
        confirm_seconds: how long the winner trains again at least, after all other attempts.

    Raises:
        UserCodeError: the task's own code raised. `probe_batch_size` keeps what was measured until then.
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
        in_process=in_process,
        confirm_seconds=confirm_seconds,
        argv=argv,
        recipe_hash=recipe_hash,
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
    seed: int = 0,
    observer: Callable[[Attempt], None] | None = None,
    in_process: bool = False,
    confirm_seconds: float = CONFIRM_SECONDS,
    argv: Sequence[str] = (),
    recipe_hash: str | None = None,
) -> tuple[BatchResult, ProbeError | None]:
    """As `find_batch_size`, but an error of the task's own code comes beside what was measured before it.

    `size_only` leaves out the throughput curve and the confirmation.
    """
    source = as_source(task)
    spec = device if isinstance(device, DeviceSpec) else parse_device(device, memory=memory)
    request = Request(
        source=source,
        params=dict(params or {}),
        device=spec,
        seed=seed,
        confirm_seconds=confirm_seconds,
        argv=tuple(argv),
        recipe_hash=recipe_hash,
    )
    runner: AttemptRunner = InProcessRunner(request) if in_process else ChildRunner(request)
    return run_sweep(
        runner,
        task=source.title,
        start=DEFAULT_START if start is None else start,
        max=max,
        size_only=size_only,
        observer=observer,
    )
