"""Calls on nodes of a Ray cluster, under way: their frames as they arrive, and how they are lost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from probe.errors import DeviceError, ProbeError, TaskError, first_line, last_line
from probe.search.executors.ray.on_node import CallOptions, run_on_node
from probe.search.jobs.jobs import RungJob, RungReport
from probe.version import VERSION
from probe.workers.frames import decode, encode
from probe.workers.worker import Died, Message, Raised, Returned, decode_event


class TaskLostError(ProbeError):
    """A call's process or node died."""


TaskEvent = Message | Returned | Raised | Died


@dataclass(slots=True)
class RayTask:
    frames: Any
    """Ray's generator of them, from `probe.search.executors.ray.on_node.run_on_node`."""
    job: RungJob | None
    """None: a call that is no rung of a trial."""
    submitted: float
    starts: int = 1
    """Of the same job, this one counted."""
    started: float | None = None
    """When the node began with it, then when the trial's time began."""
    is_timed: bool = False
    node_id: str | None = None
    version: str | None = None
    """Of probe on that node."""

    @property
    def seconds(self) -> float:
        """Since it began; 0 before that."""
        return 0.0 if self.started is None else time.monotonic() - self.started

    @property
    def seconds_left(self) -> float:
        """Of the trial's time, once that runs; infinite without a limit."""
        limit = None if self.job is None else self.job.max_seconds
        return math.inf if limit is None or not self.is_timed else limit - self.seconds

    def next_event(self) -> TaskEvent | None:
        """Waits for the next frame; None for the first, that says which node it is. Raises DeviceError where the cluster cannot
        run such a task at all."""
        try:
            frame = ray.get(next(self.frames))
        except StopIteration:  # every call ends with a frame of its own, but where its node joined a moment ago
            return Died(exit_code=1, stderr=f"the node has probe {self.version}, and this is {VERSION}")
        except ray.exceptions.TaskUnschedulableError as error:
            raise DeviceError(f"The Ray cluster cannot run a job: {_in_short(error)}") from None
        except ray.exceptions.RayError as error:
            return Died(exit_code=1, stderr=_in_short(error))
        if self.node_id is not None:
            return decode_event(frame)
        self.node_id, self.version = decode(frame)
        self.started = time.monotonic()
        return None


class RayTasks:
    """All that are under way."""

    def __init__(self, terms: CallOptions, *, cpus_per_task: float) -> None:
        self._terms = terms
        self._options = {"num_cpus": cpus_per_task, "num_returns": "streaming", "max_retries": 0}
        self._stream = ray.remote(run_on_node)
        self._running: dict[Any, RayTask] = {}

    def __len__(self) -> int:
        return len(self._running)

    def of_jobs(self) -> list[tuple[RayTask, RungJob]]:
        return [(task, task.job) for task in self._running.values() if task.job is not None]

    def start(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        options: Mapping[str, Any],
        job: RungJob | None = None,
        starts: int = 1,
    ) -> RayTask:
        """`starts`: as of `RayTask`. `options`: Ray's. Raises TaskError for what cannot be pickled."""
        try:
            payload = encode((function, tuple(args), dict(kwargs)))
        except Exception as error:
            raise TaskError(
                f"{function.__qualname__} and its arguments cannot be sent to a node: {type(error).__name__}: {error}",
                hint="Open files, locks and generators stay out of a Task; make them inside its functions.",
            ) from None
        frames = self._stream.options(**{**self._options, **options}).remote(self._terms, payload)
        task = RayTask(frames=frames, job=job, submitted=time.monotonic(), starts=starts)
        self._running[frames] = task
        return task

    def next_event(self, task: RayTask) -> TaskEvent | None:
        """As `RayTask.next_event`; with its last event a task is no longer under way."""
        event = task.next_event()
        if event is not None and not isinstance(event, Message):
            self._running.pop(task.frames, None)
        return event

    def end(self, task: RayTask) -> None:
        """Of one that still runs: its process is killed."""
        if self._running.pop(task.frames, None) is not None:
            ray.cancel(task.frames, force=True)

    def end_all(self) -> None:
        for task in list(self._running.values()):
            self.end(task)


def lost(died: Died, node: str, task: RayTask) -> RungReport:
    """Of a rung that went with its worker or its node."""
    return RungReport(outcome="crashed", seconds=task.seconds, message=f"Its task on {node} was lost: {died.stderr}")


def measured(function: Callable[..., Any], args: Sequence[Any]) -> Any:
    """On a node: a function whose observer is the driver's."""
    from probe.workers.child import send_message

    return function(*args, observer=send_message)


def _in_short(error: Exception) -> str:
    """Ray's own first sentence, or the last line of the traceback from a node."""
    return last_line(error) if isinstance(error, ray.exceptions.RayTaskError) else first_line(error).partition(". ")[0]
