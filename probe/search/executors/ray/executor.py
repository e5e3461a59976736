"""Jobs as Ray tasks: one rung of one trial each, streamed back epoch by epoch, retried by nobody but the study."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import ray

from probe.search.executors.local import ENDS_SEARCH, report_of, timed_out
from probe.search.executors.ray.carried import (
    CarriedFit,
    CarriedReport,
    carried_arguments,
    fit_carried,
    train_carried,
    unpacked,
    unpacked_fit,
)
from probe.search.executors.ray.monitor import LOOK_SECONDS, FirstCall, NodeMonitor
from probe.search.executors.ray.nodes import Node
from probe.search.executors.ray.on_node import CallOptions
from probe.search.executors.ray.placement import Options, Placement
from probe.search.executors.ray.resources import SlotPlan
from probe.search.executors.ray.tasks import RayTask, RayTasks, TaskEvent, TaskLostError, lost, measured
from probe.search.jobs.final_job import FinalJob, FinalOutcome
from probe.search.jobs.jobs import JobEnd, JobEpoch, JobEvent, JobStarted, RungJob
from probe.search.jobs.worker_calls import train_in_worker
from probe.search.records.cluster import ClusterUse
from probe.workers.frames import encode
from probe.workers.worker import Died, Message, Raised, Returned

CALL_POLL_SECONDS = 0.5
MAX_STARTS = 3
"""Of a call whose process or node is lost, and of a job whose process is lost before it has begun: Ray may hand it to one that
was killed for the job before it."""
AVOID_SECONDS = 20.0
"""For a job to wait for another node than the one that lost it; then any will do."""
MOMENT_SECONDS = 2.0
"""For a job whose time is up, and of which more has arrived than was read."""


class RayExecutor:
    """Runs jobs on the nodes of a cluster that this process is connected to."""

    def __init__(
        self,
        nodes: Sequence[Node],
        plan: SlotPlan,
        *,
        use: ClusterUse,
        num_threads: int,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        """Without a storage in `use`, checkpoints travel with the jobs. `prepare` is run in every process
        before its first call."""
        self._watch = NodeMonitor(nodes, plan, use)
        self._terms = CallOptions(num_threads=num_threads, prepare=prepare)
        self._tasks = RayTasks(self._terms, cpus_per_task=plan.cpus_per_job)
        self._carries = use.storage is None
        self._placement = Placement(plan, self._watch)

    @property
    def num_slots(self) -> int:
        return self._watch.num_slots

    @property
    def cluster(self) -> ClusterUse:
        return self._watch.use

    @property
    def cores_alone(self) -> int:
        return max(1, math.floor(min((size.num_cpus for size in self._watch.sizes.values()), default=1)))

    @property
    def shared_gpu_bytes(self) -> int | None:
        return self._placement.shared_gpu_bytes

    @property
    def slots_by_gpu(self) -> tuple[int, ...]:
        return ()

    def num_idle(self, gpu: int = 0) -> int:
        """Ray ends processes that have used a GPU with their tasks."""
        return 0

    def places(self) -> Mapping[int, str]:
        """Running trial -> its node's name; a job that still waits for its node is in none."""
        jobs = self._tasks.of_jobs()
        return {job.number: self._name(task.node_id) for task, job in jobs if task.node_id is not None}

    def submit(self, job: RungJob) -> None:
        if len(self._tasks) >= self.num_slots:
            raise RuntimeError(f"all {self.num_slots} slots are taken")
        self._start_job(job)

    def _start_job(self, job: RungJob, *, starts: int = 1) -> None:
        function, arguments = (train_carried, carried_arguments(job)) if self._carries else (train_in_worker, (job,))
        self._tasks.start(function, arguments, {}, job=job, starts=starts, options=self._placement.of_job(job))

    def poll(self, timeout_seconds: float) -> list[JobEvent]:
        self._watch.look()
        running = {task.frames: task for task, _ in self._tasks.of_jobs()}
        if not running:
            return []
        wait = max(0.0, min(timeout_seconds, LOOK_SECONDS, *(task.seconds_left for task in running.values())))
        ready, _ = ray.wait(list(running), num_returns=1, timeout=wait)
        if ready and len(running) > 1:
            ready, _ = ray.wait(list(running), num_returns=len(running), timeout=0)
        found: list[JobEvent] = []
        for frames in ready:
            found += self._next_events(running[frames])
        self._start_elsewhere(ready)
        return found + self._on_lost_nodes(ready) + self._timed_out(ready)

    def call(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        on_message: Callable[[Any], None] | None = None,
        **kwargs: Any,
    ) -> Any:
        return self._call(function, args, kwargs, options=self._placement.of_call, on_message=on_message)

    def call_beside(self, function: Callable[..., Any], /, *args: Any) -> Any:
        return self._call(function, args, {}, options=self._placement.of_call_beside, on_message=None)

    def call_everywhere(self, function: Callable[..., Any], /, *args: Any) -> list[Any]:
        def start(node_id: str) -> RayTask:
            return self._tasks.start(function, args, {}, options=self._placement.on_node(node_id))

        first, *others = self._watch.sizes
        found = [self._wait_for(start(first), None)]
        tasks = [start(node_id) for node_id in others]
        try:
            found += [self._wait_for(task, None) for task in tasks]
        finally:
            for task in tasks:
                self._tasks.end(task)
        content = encode((self._terms, encode((function, args, {}))))
        self._watch.first_call = FirstCall(content=content, answer=found[0])
        return found

    def call_each(self, function: Callable[..., Any], /, *args: Any) -> list[Any]:
        return [self.call(function, *args)]

    def measure(self, function: Callable[..., Any], /, *args: Any, observer: Callable[[Any], None] | None) -> Any:
        return self.call(measured, function, args, on_message=observer)

    def fit(self, job: FinalJob, *, on_message: Callable[[Any], None] | None) -> FinalOutcome:
        options = partial(self._placement.of_final_fit, num_cpus=self.cores_alone)
        carried: CarriedFit = self._call(fit_carried, (job,), {}, options=options, on_message=on_message)
        return unpacked_fit(job, carried)

    def cancel(self) -> None:
        self._tasks.end_all()

    def close(self) -> None:
        self.cancel()
        self._watch.close()

    def _next_events(self, task: RayTask) -> list[JobEvent]:
        """Of one frame of a job, or of its end."""
        assert task.job is not None  # calls are waited for where they are made
        number = task.job.number
        event = self._next(task)
        if event is None:
            self._check_place(task, task.job)
            return []
        if isinstance(event, Message) and isinstance(event.value, JobStarted):
            task.started, task.is_timed = time.monotonic(), True
            return []
        if isinstance(event, Message):
            return [JobEpoch(number=number, report=event.value)]
        if isinstance(event, Raised) and isinstance(event.error, ENDS_SEARCH):
            raise event.error
        if isinstance(event, Died) and task.started is None and task.starts < MAX_STARTS:
            self._start_job(task.job, starts=task.starts + 1)
            return []
        if isinstance(event, Died):
            return [self._lost_job(task, task.job, event)]
        self._placement.avoid(number, None)
        if isinstance(event, Returned) and isinstance(event.value, CarriedReport):
            event = Returned(unpacked(task.job, event.value))
        began = task.started or task.submitted
        return [JobEnd(number=number, report=report_of(event, time.monotonic() - began))]

    def _next(self, task: RayTask) -> TaskEvent | None:
        """The next event, which is there or comes soon; None where it only said which node it is on."""
        event = self._tasks.next_event(task)
        if isinstance(event, Died):
            self._watch.look_again()
        return event

    def _call(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        options: Callable[[], Options],
        on_message: Callable[[Any], None] | None,
    ) -> Any:
        """What is lost with its node is begun again; a search must not end with the node that probed for it."""
        for tries_left in reversed(range(MAX_STARTS)):
            try:
                return self._wait_for(self._tasks.start(function, args, kwargs, options=options()), on_message)
            except TaskLostError:
                if not tries_left:
                    raise
                self._watch.look()  # so that it keeps away from nodes that are shut out by now
        raise AssertionError("a call is tried at least once")

    def _wait_for(self, task: RayTask, on_message: Callable[[Any], None] | None) -> Any:
        try:
            while True:
                ready, _ = ray.wait([task.frames], timeout=CALL_POLL_SECONDS)  # in slices, for Ctrl-C
                if not ready:
                    self._watch.look()
                    if self._watch.is_lost(task.node_id):
                        raise TaskLostError(f"A task on {self._name(task.node_id)} was lost: the node does not answer.")
                    continue
                match self._next(task):
                    case None if not self._watch.is_let_in(task.node_id):  # it joined while the call waited inside Ray
                        self._watch.look_again()
                        raise TaskLostError(f"{self._name(task.node_id)} takes no part in this search yet.")
                    case Message(value):
                        if on_message is not None:
                            on_message(value)
                    case Returned(value):
                        return value
                    case Raised(error):
                        raise error
                    case Died() as died:
                        raise TaskLostError(f"A task on {self._name(task.node_id)} was lost: {died.stderr}")
        finally:
            self._tasks.end(task)

    def _check_place(self, task: RayTask, job: RungJob) -> None:
        """A job that waited inside Ray may begin on a node that joined meanwhile and has not been let in."""
        if self._watch.is_let_in(task.node_id):
            return
        self._watch.look_again()
        self._tasks.end(task)
        self._placement.avoid(job.number, task.node_id)
        self._start_job(job)

    def _start_elsewhere(self, ready: Sequence[Any]) -> None:
        """Jobs that keep away from a node and still wait for another: that has no room for them, or is gone too."""
        for task, job in self._tasks.of_jobs():
            waits = task.node_id is None and task.frames not in ready
            if waits and self._placement.avoids(job.number) and time.monotonic() - task.submitted > AVOID_SECONDS:
                self._tasks.end(task)
                self._placement.avoid(job.number, None)
                self._start_job(job)

    def _timed_out(self, ready: Sequence[Any]) -> list[JobEvent]:
        """Those that have just said something may have said that they are done, and get a moment more."""
        ended: list[JobEvent] = []
        for task, job in self._tasks.of_jobs():
            patience = MOMENT_SECONDS if task.frames in ready else 0.0
            if task.seconds_left <= -patience:
                ended.append(JobEnd(number=job.number, report=timed_out(job, task.seconds)))
                self._tasks.end(task)
        return ended

    def _on_lost_nodes(self, ready: Sequence[Any]) -> list[JobEvent]:
        """The ends of jobs that Ray still waits for: where a machine is gone without closing its connections (no power, no
        network), the cluster declares its node dead after a while, but the calls there hang for minutes more."""
        ended: list[JobEvent] = []
        for task, job in self._tasks.of_jobs():
            if self._watch.is_lost(task.node_id) and task.frames not in ready:
                ended.append(self._lost_job(task, job, Died(exit_code=1, stderr="the node does not answer")))
                self._tasks.end(task)
        return ended

    def _lost_job(self, task: RayTask, job: RungJob, died: Died) -> JobEnd:
        self._placement.avoid(job.number, task.node_id)
        return JobEnd(number=job.number, report=lost(died, self._name(task.node_id), task))

    def _name(self, node_id: str | None) -> str:
        return self._watch.name(node_id)
