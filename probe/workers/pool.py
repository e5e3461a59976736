"""The same call in several workers at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from probe.errors import DeviceError
from probe.workers.worker import Died, Raised, Returned, Worker, WorkerDied, wait_any


def broadcast(workers: Sequence[Worker], gpus: Sequence[str], function: Callable[..., Any], /, *args: Any) -> list[Any]:
    """Run `function(*args)` in every worker and return the results in order. Messages are ignored.

    Args:
        workers: the workers, all idle.
        gpus: the GPU that each worker sees, to name it in a DeviceError, because every worker calls its own cuda:0.
        function: the function.
        args: its arguments.

    Raises:
        ProbeError: as `Worker.call`, for the first worker that fails. The others may still be busy; close all of them.
    """
    seen_by = {id(worker): gpu for worker, gpu in zip(workers, gpus, strict=True)}
    for worker in workers:
        worker.submit(function, *args)
    found: dict[int, Any] = {}
    while len(found) < len(workers):
        for worker, event in wait_any(workers, None):
            match event:
                case Returned(value):
                    found[id(worker)] = value
                case Raised(DeviceError() as error):
                    message = f"In the worker that sees only GPU {seen_by[id(worker)]}: {error.message}"
                    raise DeviceError(message, hint=error.hint)
                case Raised(error):
                    raise error
                case Died():
                    raise WorkerDied(event)
    return [found[id(worker)] for worker in workers]
