"""The same call in several child processes at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from probe.errors import DeviceError
from probe.workers.worker import Died, Raised, Returned, Worker, WorkerDied, wait_any


def broadcast(workers: Sequence[Worker], gpus: Sequence[str], function: Callable[..., Any], /, *args: Any) -> list[Any]:
    """Run `function(*args)` in every worker; what each returned, in their order. Messages are not heard.

    `gpus`: the one that each worker sees, which a DeviceError then names, as all of them call theirs cuda:0. Raises as
    `Worker.call`, by the first that fails: the others may still be busy then, and are to be closed.
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
                    told = f"In the worker that sees GPU {seen_by[id(worker)]} alone: {error.message}"
                    raise DeviceError(told, hint=error.hint)
                case Raised(error):
                    raise error
                case Died():
                    raise WorkerDied(event)
    return [found[id(worker)] for worker in workers]
