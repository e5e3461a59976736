"""One call on a node of a Ray cluster, under way: its frames as they arrive, and how it is lost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from probe.errors import DeviceError, ProbeError
from probe.search.jobs import RungJob, RungReport
from probe.version import VERSION
from probe.workers.frames import decode
from probe.workers.worker import Died, Message, Raised, Returned, decode_event


class TaskLostError(ProbeError):
    """A call's process or node died."""


TaskEvent = Message | Returned | Raised | Died


@dataclass(slots=True)
class RayTask:
    frames: Any
    """Ray's generator of them, from `probe.search.ray_node.run_on_node`."""
    job: RungJob | None
    """None: a call that is no rung of a trial."""
    submitted: float
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
            raise DeviceError(f"The Ray cluster cannot run a job: {_first_line(error)}") from None
        except ray.exceptions.RayError as error:
            return Died(exit_code=1, stderr=_first_line(error))
        if self.node_id is not None:
            return decode_event(frame)
        self.node_id, self.version = decode(frame)
        self.started = time.monotonic()
        return None


def lost(died: Died, node: str, task: RayTask) -> RungReport:
    """Of a rung that went with its worker or its node."""
    return RungReport(outcome="crashed", seconds=task.seconds, message=f"Its task on {node} was lost: {died.stderr}")


def measured(function: Callable[..., Any], args: Sequence[Any]) -> Any:
    """On a node: a function whose observer is the driver's."""
    from probe.workers.child import send_message

    return function(*args, observer=send_message)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).partition(". ")[0]
