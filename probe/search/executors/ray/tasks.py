"""Follows the calls that run on the nodes of a Ray cluster: their messages, results, and losses."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from probe.errors import DeviceError, ProbeError, TaskError
from probe.search.executors.ray.on_node import CallOptions, run_on_node
from probe.search.jobs.jobs import RungJob, RungReport
from probe.version import VERSION
from probe.workers.child import decode, encode
from probe.workers.worker import Died, Message, Raised, Returned, decode_event


class TaskLostError(ProbeError):
    """The process or the node of a call died."""


TaskEvent = Message | Returned | Raised | Died


@dataclass(slots=True)
class RayTask:
    frames: Any
    """Ray's generator of the frames that `on_node.run_on_node` yields."""
    job: RungJob | None
    """The job that the task runs; None for any other call."""
    submitted: float
    num_starts: int = 1
    """How often the same job was started, including this task."""
    started: float | None = None
    """Time at which the node started the task or, if `is_timed`, at which the trial's time limit began; None while it waits
    for a node."""
    is_timed: bool = False
    node_id: str | None = None
    version: str | None = None
    """Version of probe on the node."""

    @property
    def seconds(self) -> float:
        """Seconds since the task started; 0 before that."""
        return 0.0 if self.started is None else time.monotonic() - self.started

    @property
    def seconds_left(self) -> float:
        """Seconds until the trial's time limit; infinite without a limit, and before the trial's time began."""
        limit = None if self.job is None else self.job.max_seconds
        return math.inf if limit is None or not self.is_timed else limit - self.seconds

    def next_event(self) -> TaskEvent | None:
        """Wait for the next event; None for the first frame, which only names the node. Raises DeviceError if the cluster can
        never run the task."""
        try:
            frame = ray.get(next(self.frames))
        except StopIteration:  # the call was not made, on a node with another version of probe
            return Died(exit_code=1, stderr=f"the node has probe {self.version}, this machine has {VERSION}")
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
    """The running Ray tasks of a search."""

    def __init__(self, options: CallOptions, *, cpus_per_task: float) -> None:
        self._call_options = options
        self._task_options = {"num_cpus": cpus_per_task, "num_returns": "streaming", "max_retries": 0}
        self._stream = ray.remote(run_on_node)
        self._running: dict[Any, RayTask] = {}

    def __len__(self) -> int:
        return len(self._running)

    def jobs(self) -> list[tuple[RayTask, RungJob]]:
        return [(task, task.job) for task in self._running.values() if task.job is not None]

    def start(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        options: Mapping[str, Any],
        job: RungJob | None = None,
        num_starts: int = 1,
    ) -> RayTask:
        """Start a call, with Ray's `options`. Raises TaskError if the function or an argument cannot be pickled."""
        try:
            payload = encode((function, tuple(args), dict(kwargs)))
        except Exception as error:
            raise TaskError(
                f"{function.__qualname__} and its arguments cannot be sent to a node: {type(error).__name__}: {error}",
                hint="Keep open files, locks and generators out of a Task; create them inside its functions.",
            ) from None
        frames = self._stream.options(**{**self._task_options, **options}).remote(self._call_options, payload)
        task = RayTask(frames=frames, job=job, submitted=time.monotonic(), num_starts=num_starts)
        self._running[frames] = task
        return task

    def next_event(self, task: RayTask) -> TaskEvent | None:
        """The next event of a task (see RayTask.next_event). After its last event, the task is no longer running."""
        event = task.next_event()
        if event is not None and not isinstance(event, Message):
            self._running.pop(task.frames, None)
        return event

    def cancel(self, task: RayTask) -> None:
        """Kill the process of a task, if it is running."""
        if self._running.pop(task.frames, None) is not None:
            ray.cancel(task.frames, force=True)

    def cancel_all(self) -> None:
        for task in list(self._running.values()):
            self.cancel(task)


def lost_report(died: Died, node: str, task: RayTask) -> RungReport:
    """The report of a job whose worker or node died."""
    return RungReport(outcome="crashed", seconds=task.seconds, message=f"Its task on {node} was lost: {died.stderr}")


def run_with_observer(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """On a node: call a function whose `observer` sends messages to the driver."""
    from probe.workers.child import send_message

    return function(*args, **kwargs, observer=send_message)


def _in_short(error: Exception) -> str:
    """The first sentence of Ray's message, or the last line of a traceback from a node."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if isinstance(error, ray.exceptions.RayTaskError) else lines[0].partition(". ")[0]
