"""Jobs as Ray tasks: one rung of one trial each, streamed back epoch by epoch, retried by nobody but the study."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray

from probe.errors import DeviceError, OutputError, ProbeError, TaskError
from probe.search.cluster_records import ClusterUse
from probe.search.executors import report_of, timed_out, train_in_worker
from probe.search.final_job import FinalJob, FinalOutcome
from probe.search.jobs import JobBegun, JobEnd, JobEpoch, JobEvent, RungJob, RungReport
from probe.search.ray_carried import (
    CarriedFit,
    CarriedReport,
    carried_arguments,
    fit_carried,
    train_carried,
    unpacked,
    unpacked_fit,
)
from probe.search.ray_cluster import Node, live_nodes, node_size
from probe.search.ray_node import CallTerms, run_on_node
from probe.search.ray_terms import SlotPlan, gpu_share
from probe.version import VERSION
from probe.workers.frames import decode, encode
from probe.workers.worker import Died, Message, Raised, Returned, decode_event

LOOK_SECONDS = 2.0
"""Between two looks at which nodes are there; a lost one is noticed at once where a job ran on it."""
WAIT_FOR_NODES_SECONDS = 120.0
"""Without any node that could run a job."""
CALL_POLL_SECONDS = 0.5


@dataclass(slots=True)
class _Task:
    """A call on a node, under way."""

    frames: Any
    """Ray's generator of them."""
    job: RungJob | None
    submitted: float
    started: float | None = None
    """When the node began with it, then when the trial's time began."""
    is_timed: bool = False
    node_id: str | None = None


class RayExecutor:
    """Runs jobs on the nodes of a cluster that this process is connected to (`probe.search.ray_cluster.connected`)."""

    def __init__(
        self,
        nodes: Sequence[Node],
        plan: SlotPlan,
        *,
        use: ClusterUse,
        num_threads: int,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        """Without a storage in `use`, checkpoints travel with the jobs. `prepare` is run before every call."""
        self._use = use
        self._names = {node.facts.node_id: node.facts.name for node in nodes}
        self._plan = plan
        self._terms = CallTerms(num_threads=num_threads, prepare=prepare)
        self._carries = use.storage is None
        self._gpu_bytes = min((node.gpu_bytes for node in nodes if node.gpu_bytes is not None), default=None)
        self._num_gpus = sum(node.facts.num_gpus for node in nodes)
        self._stream = ray.remote(run_on_node)
        self._tasks: dict[Any, _Task] = {}
        self._nodes = {node.facts.node_id: node.size for node in nodes}
        self._looked = self._saw_nodes = time.monotonic()
        self._num_slots = plan.num_slots
        self._avoid: dict[int, str] = {}
        """Trial -> the node that lost its last job."""
        self._lost: list[str] = []
        """Ids of nodes that were there and are gone."""

    @property
    def num_slots(self) -> int:
        return self._num_slots

    @property
    def cluster(self) -> ClusterUse:
        return replace(self._use, lost_nodes=tuple(self._lost))

    @property
    def cores_alone(self) -> int:
        return max(1, math.floor(min((size.num_cpus for size in self._nodes.values()), default=1)))

    def places(self) -> Mapping[int, str]:
        """Running trial -> its node's name; a job that still waits for its node is in none."""
        return {
            task.job.number: self._name(task.node_id)
            for task in self._tasks.values()
            if task.job is not None and task.node_id is not None
        }

    def submit(self, job: RungJob) -> None:
        if len(self._tasks) >= self._num_slots:
            raise RuntimeError(f"all {self._num_slots} slots are taken")
        function, arguments = (train_carried, carried_arguments(job)) if self._carries else (train_in_worker, (job,))
        avoided = self._avoid.get(job.number)
        options: dict[str, Any] = {"name": f"trial {job.number} to epoch {job.epochs_to}"}
        if avoided is not None and any(node != avoided for node in self._nodes):
            options["label_selector"] = {"ray.io/node-id": f"!in({avoided})"}
        if self._plan.on_gpu:
            options["num_gpus"] = gpu_share(
                job.peak_bytes, gpu_bytes=self._gpu_bytes, plan=self._plan, num_gpus=self._num_gpus
            )
        self._start(function, arguments, {}, job=job, options=options)

    def poll(self, timeout_seconds: float) -> list[JobEvent]:
        self._look_at_nodes()
        running = {frames: task for frames, task in self._tasks.items() if task.job is not None}
        if not running:
            return []
        wait = max(0.0, min(timeout_seconds, self._seconds_to_timeout(), LOOK_SECONDS))
        ready, _ = ray.wait(list(running), num_returns=1, timeout=wait)
        if ready and len(running) > 1:
            ready, _ = ray.wait(list(running), num_returns=len(running), timeout=0)
        found: list[JobEvent] = []
        for frames in ready:
            found += self._next_events(running[frames])
        return found + self._on_lost_nodes(set(ready)) + self._timed_out()

    def call(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        on_message: Callable[[Any], None] | None = None,
        **kwargs: Any,
    ) -> Any:
        return self._wait_for(self._start(function, args, kwargs, options=self._gpu_options()), on_message)

    def call_everywhere(self, function: Callable[..., Any], /, *args: Any) -> list[Any]:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        def start(node_id: str) -> _Task:
            options = {"scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=False), "num_gpus": 0}
            return self._start(function, args, {}, options=options)

        first, *others = self._nodes
        found = [self._wait_for(start(first), None)]
        tasks = [start(node_id) for node_id in others]
        try:
            return found + [self._wait_for(task, None) for task in tasks]
        finally:
            for task in tasks:
                self._end(task)

    def measure(self, function: Callable[..., Any], /, *args: Any, observer: Callable[[Any], None] | None) -> Any:
        return self.call(_measured, function, args, on_message=observer)

    def fit(self, job: FinalJob, *, on_message: Callable[[Any], None] | None) -> FinalOutcome:
        options = {**self._gpu_options(), "num_cpus": self.cores_alone}
        carried: CarriedFit = self._wait_for(self._start(fit_carried, (job,), {}, options=options), on_message)
        return unpacked_fit(job, carried)

    def cancel(self) -> None:
        for task in list(self._tasks.values()):
            self._end(task)

    def close(self) -> None:
        self.cancel()

    def _gpu_options(self) -> dict[str, Any]:
        return {"num_gpus": 1} if self._plan.on_gpu else {}

    def _start(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        job: RungJob | None = None,
        options: Mapping[str, Any],
    ) -> _Task:
        try:
            payload = encode((function, tuple(args), dict(kwargs)))
        except Exception as error:
            raise TaskError(
                f"{function.__qualname__} and its arguments cannot be sent to a node: {type(error).__name__}: {error}",
                hint="Open files, locks and generators stay out of a Task; make them inside its functions.",
            ) from None
        asked = {"num_cpus": self._plan.cpus_per_job, "num_returns": "streaming", "max_retries": 0, **options}
        # Large arguments are put into the object store by Ray itself, and read from there without a copy.
        frames = self._stream.options(**asked).remote(self._terms, payload)
        task = _Task(frames=frames, job=job, submitted=time.monotonic())
        self._tasks[frames] = task
        return task

    def _next_events(self, task: _Task) -> list[JobEvent]:
        """Of one frame of a job, or of its end."""
        assert task.job is not None  # calls are waited for where they are made
        number = task.job.number
        event = self._next(task)
        if event is None:
            return []
        if isinstance(event, Message) and isinstance(event.value, JobBegun):
            task.started, task.is_timed = time.monotonic(), True
            return []
        if isinstance(event, Message):
            return [JobEpoch(number=number, report=event.value)]
        if isinstance(event, Raised) and isinstance(event.error, OutputError):
            raise event.error
        if isinstance(event, Died):
            return [self._lost_job(task, task.job, event)]
        self._avoid.pop(number, None)
        if isinstance(event, Returned) and isinstance(event.value, CarriedReport):
            event = Returned(unpacked(task.job, event.value))
        began = task.started or task.submitted
        return [JobEnd(number=number, report=report_of(event, time.monotonic() - began))]

    def _on_lost_nodes(self, ready: set[Any]) -> list[JobEvent]:
        """The ends of jobs that Ray still waits for: where a machine is gone without closing its connections (no power, no
        network), the cluster declares its node dead after a while, but the calls there hang for minutes more."""
        gone = set(self._lost)
        ended: list[JobEvent] = []
        for task in list(self._tasks.values()):
            if task.job is not None and task.node_id in gone and task.frames not in ready:
                ended.append(self._lost_job(task, task.job, Died(exit_code=1, stderr="the node does not answer")))
                self._end(task)
        return ended

    def _lost_job(self, task: _Task, job: RungJob, died: Died) -> JobEnd:
        if task.node_id is not None:
            self._avoid[job.number] = task.node_id
        return JobEnd(number=job.number, report=_lost(died, self._name(task.node_id), task))

    def _next(self, task: _Task) -> Message | Returned | Raised | Died | None:
        """The next frame, which is there or comes soon; None for the first, that says which node it is."""
        try:
            frame = ray.get(next(task.frames))
        except StopIteration:  # every call ends with a frame of its own
            self._tasks.pop(task.frames, None)
            return Died(exit_code=1, stderr="its stream ended before its result")
        except ray.exceptions.TaskUnschedulableError as error:
            raise DeviceError(f"The Ray cluster cannot run a job: {_first_line(error)}") from None
        except ray.exceptions.RayError as error:
            self._looked = -math.inf
            self._tasks.pop(task.frames, None)
            return Died(exit_code=1, stderr=_first_line(error))
        if task.node_id is not None:
            event = decode_event(frame)
            if not isinstance(event, Message):
                self._tasks.pop(task.frames, None)
            return event
        task.node_id, version = decode(frame)
        task.started = time.monotonic()
        if version != VERSION:  # it joined after the nodes were looked at
            raise DeviceError(
                f"The node {self._name(task.node_id)} has probe {version}, and this is {VERSION}.",
                hint="Install the same version there, then go on with --resume.",
            )
        return None

    def _wait_for(self, task: _Task, on_message: Callable[[Any], None] | None) -> Any:
        try:
            while True:
                ready, _ = ray.wait([task.frames], timeout=CALL_POLL_SECONDS)  # in slices, for Ctrl-C
                if not ready:
                    self._look_at_nodes()
                    if task.node_id in self._lost:
                        raise ProbeError(f"A task on {self._name(task.node_id)} was lost: the node does not answer.")
                    continue
                match self._next(task):
                    case Message(value):
                        if on_message is not None:
                            on_message(value)
                    case Returned(value):
                        return value
                    case Raised(error):
                        raise error
                    case Died() as died:
                        raise ProbeError(f"A task on {self._name(task.node_id)} was lost: {died.stderr}")
        finally:
            self._end(task)

    def _end(self, task: _Task) -> None:
        """Of one that still runs: its process is killed."""
        if self._tasks.pop(task.frames, None) is not None:
            ray.cancel(task.frames, force=True)

    def _seconds_to_timeout(self) -> float:
        now = time.monotonic()
        return min((limit - (now - (task.started or now)) for task, limit in self._limited()), default=math.inf)

    def _timed_out(self) -> list[JobEvent]:
        ended: list[JobEvent] = []
        for task, limit in self._limited():
            seconds = time.monotonic() - (task.started or 0.0)
            if task.job is not None and seconds >= limit:
                ended.append(JobEnd(number=task.job.number, report=timed_out(task.job, seconds)))
                self._end(task)
        return ended

    def _limited(self) -> list[tuple[_Task, float]]:
        """Jobs that have begun and whose time is limited."""
        return [
            (task, task.job.max_seconds)
            for task in self._tasks.values()
            if task.job is not None and task.is_timed and task.job.max_seconds is not None
        ]

    def _look_at_nodes(self) -> None:
        """Nodes come and go, and the slots with them. Raises DeviceError where none has been there for a while."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        records = live_nodes()
        self._lost += [node_id for node_id in self._nodes if node_id not in records]
        self._names |= {node_id: str(record["NodeManagerHostname"]) for node_id, record in records.items()}
        self._nodes = {
            node_id: size for node_id, record in records.items() if (size := node_size(record)).num_cpus >= 1
        }
        slots = self._plan.slots_on(list(self._nodes.values()))
        if slots:
            self._saw_nodes = now
        elif now - self._saw_nodes > WAIT_FOR_NODES_SECONDS:
            raise DeviceError(
                f"For {WAIT_FOR_NODES_SECONDS:.0f} seconds the Ray cluster has had no node that could run a job.",
                hint="Start one (ray start --address HOST:PORT) and go on with --resume.",
            )
        self._num_slots = max(1, slots)  # one at least: a job waits for a node to come

    def _name(self, node_id: str | None) -> str:
        return "a node" if node_id is None else self._names.get(node_id, node_id[:8])


def _lost(died: Died, name: str, task: _Task) -> RungReport:
    seconds = 0.0 if task.started is None else time.monotonic() - task.started
    return RungReport(outcome="crashed", seconds=seconds, message=f"Its task on {name} was lost: {died.stderr}")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).partition(". ")[0]


def _measured(function: Callable[..., Any], args: Sequence[Any]) -> Any:
    from probe.workers.child import send_message

    return function(*args, observer=send_message)
