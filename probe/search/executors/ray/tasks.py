"""Calls and probes as they run on the nodes of a Ray cluster, and the messages, results and losses of running calls."""

from __future__ import annotations

import math
import os
import platform
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ray

from probe.errors import DeviceError, ProbeError, TaskError
from probe.search.executors.local import prepare_worker
from probe.search.jobs.jobs import Outcome, RungJob, RungReport
from probe.system.module_names import put_on_path
from probe.version import VERSION
from probe.workers.child import decode, encode, stream_call
from probe.workers.death import Died
from probe.workers.process_state import begin
from probe.workers.worker import Message, Raised, Returned, decode_event


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """How a node runs a call, so that it runs as in this process."""

    version: str = VERSION
    folder: str = field(default_factory=os.getcwd)
    """Working directory of the call, if the node has it."""
    paths: tuple[str, ...] = field(default_factory=lambda: user_paths(sys.path))
    """Folders of the user's own modules."""
    num_threads: int
    prepare: Callable[[], object] | None = None
    """Called in every process after its imports, before its first call."""


def run_on_node(options: CallOptions, payload: bytes) -> Iterator[bytes]:
    """Run the encoded (function, args, kwargs), and yield the frames of `probe.workers.stream`. The first frame is (id of the
    node, version of its probe). If the version is not the caller's, the function is not run."""
    yield encode((ray.get_runtime_context().get_node_id(), VERSION))
    if options.version == VERSION:
        yield from stream_call(encode((_run_with_options, (options, payload), {})))


def _run_with_options(options: CallOptions, payload: bytes) -> Any:
    if os.path.isdir(options.folder):
        os.chdir(options.folder)
    put_on_path(*options.paths)
    import torch

    torch.set_num_threads(options.num_threads)
    begin(partial(prepare_worker, options.prepare))
    function, args, kwargs = decode(payload)
    return function(*args, **kwargs)


def probe_node(probe_file: str, token: str, version: str, first_call: bytes | None) -> Mapping[str, Any]:
    """Describe this node, and make its first call.

    This node sees the folder of checkpoints if `probe_file` contains `token`. `first_call` is the encoded (options,
    payload) of `run_on_node`, which a node with another `version` of probe does not call. The result is a mapping that
    every version of probe can read: `info`, the fields of NodeInfo that Ray does not know; `gpu_bytes`, the memory of
    the smallest GPU, or None; `sees_storage`; `end_of_first_call`, its last frame, or None.
    """
    from probe.device.environment import torch_versions
    from probe.device.nvml import driver_version, gpu_sizes

    torch_version, cuda_version = torch_versions()
    gpus = gpu_sizes()
    frames = [] if first_call is None or version != VERSION else [*run_on_node(*decode(first_call))]
    return {
        "info": {
            "name": socket.gethostname(),
            "probe_version": VERSION,
            "python_version": platform.python_version(),
            "torch_version": torch_version,
            "cuda_version": cuda_version,
            "driver_version": driver_version(),
            "platform": platform.platform(),
            "gpu_names": tuple(name for name, _ in gpus),
        },
        "gpu_bytes": min((size for _, size in gpus), default=None),
        "sees_storage": sees_storage(Path(probe_file), token),
        "end_of_first_call": frames[-1] if frames else None,
    }


def sees_storage(probe_file: Path, token: str) -> bool:
    """Whether `probe_file` contains `token`, and its folder can be written to."""
    answer = probe_file.with_name(f"{probe_file.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        if probe_file.read_text(encoding="utf-8") != token:
            return False
        answer.write_text(token, encoding="utf-8")
        answer.unlink()
    except OSError:
        return False
    return True


def user_paths(paths: Sequence[str]) -> tuple[str, ...]:
    """The absolute `paths` without those of Python and its installed packages, which every node has itself."""
    own = {str(Path(place).resolve()) for place in (sys.prefix, sys.base_prefix)}
    found = [str(Path(path or ".").absolute()) for path in paths]
    return tuple(path for path in found if not any(Path(path).resolve().is_relative_to(place) for place in own))


class TaskLostError(ProbeError):
    """The process or the node of a call died."""


TaskEvent = Message | Returned | Raised | Died


@dataclass(slots=True)
class RayTask:
    frames: Any
    """Ray's generator of the frames that `run_on_node` yields."""
    job: RungJob | None
    """The job that the task runs; None for any other call."""
    submitted: float
    num_starts: int = 1
    """How often the same job was started, including this task."""
    started: float | None = None
    """Time at which the node started the task or, if `is_timed`, the trial's time limit; None while it waits for a node."""
    is_timed: bool = False
    node_id: str | None = None
    version: str | None = None

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
        """Wait for the next event; None for the first frame, which only names the node. May raise DeviceError."""
        try:
            frame = ray.get(next(self.frames))
        except StopIteration:  # the call was not made, on a node with another version of probe
            return Died(exit_code=1, stderr=f"the node has probe {self.version}, this machine has {VERSION}")
        except ray.exceptions.TaskUnschedulableError as error:
            raise DeviceError(f"The Ray cluster cannot run a job: {_in_short(error)}") from None
        except ray.exceptions.OutOfMemoryError as error:  # Ray killed the process, before the system would have
            return Died(exit_code=-9, stderr=_in_short(error))
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
    outcome: Outcome = "host_oom" if died.lacked_memory else "crashed"
    return RungReport(outcome=outcome, seconds=task.seconds, message=f"Its task on {node} was lost: {died.stderr}")


def run_with_observer(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """On a node: call a function whose `observer` sends messages to the driver."""
    from probe.workers.child import send_message

    return function(*args, **kwargs, observer=send_message)


def _in_short(error: Exception) -> str:
    """The first sentence of Ray's message, or the last line of a traceback from a node."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if isinstance(error, ray.exceptions.RayTaskError) else lines[0].partition(". ")[0]
