"""Worker processes that outlive a search, so that the tests of a session start few of them.

A worker goes back to a pool when an executor closes it idle, and the next executor that wants the same kind of worker takes it
from there. One that was killed, died or is busy is not kept. Tests in which a job must run in a new process do without this.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from probe.workers.child import encode
from probe.workers.worker import Worker

Kind = tuple[object, ...]
MOST_IDLE = 3
_idle: list[WarmWorker] = []
"""The pool, the longest unused worker first."""


class WarmWorker(Worker):
    """A worker that `close` puts back into the pool if it is idle."""

    kind: Kind
    is_lost = False

    def kill(self) -> None:
        self.is_lost = True
        super().kill()

    def close(self) -> None:
        if self.is_lost or self.busy or self._events or self._process.poll() is not None:
            super().close()
        elif self not in _idle:
            _idle.append(self)
            if len(_idle) > MOST_IDLE:
                Worker.close(_idle.pop(0))


def warm_worker(
    *,
    num_threads: int | None = None,
    env: Mapping[str, str] | None = None,
    prepare: Callable[[], object] | None = None,
) -> WarmWorker:
    """An idle worker of this kind from the pool, or a new one."""
    kind = (num_threads, *sorted((env or {}).items()), encode(prepare), tuple(sys.path), os.getcwd())
    for worker in [worker for worker in _idle if worker.kind == kind]:
        _idle.remove(worker)
        if worker._process.poll() is None:
            return worker
        Worker.close(worker)
    worker = WarmWorker(num_threads=num_threads, env=env, prepare=prepare)
    worker.kind = kind
    return worker


@contextmanager
def take_from_pool() -> Iterator[None]:
    """Executors of this process take their workers from the pool."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("probe.search.executors.local.Worker", warm_worker)
        yield


def close_all() -> None:
    """End the workers of the pool."""
    while _idle:
        Worker.close(_idle.pop())
