"""Runs jobs as Ray tasks, one rung of a trial each. Ray does not retry them; the study does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from probe.search.executors.job_reports import report_of, timed_out
from probe.search.executors.local import ENDS_SEARCH
from probe.search.executors.protocol import Location, Resources
from probe.search.executors.ray.monitor import UPDATE_SECONDS, FirstCall, NodeMonitor, Options, Placement
from probe.search.executors.ray.nodes import Node
from probe.search.executors.ray.resources import SlotPlan
from probe.search.executors.ray.tasks import (
    CallOptions,
    RayTask,
    RayTasks,
    TaskEvent,
    TaskLostError,
    lost_report,
    run_with_observer,
)
from probe.search.jobs.jobs import JobEnd, JobEpoch, JobEvent, JobStarted, RungJob
from probe.search.jobs.worker_calls import train_in_worker
from probe.search.records.cluster import ClusterUse
from probe.workers.child import encode
from probe.workers.death import SAVE_MEMORY, Died
from probe.workers.worker import Message, Raised, Returned

CALL_POLL_SECONDS = 0.5
MAX_STARTS = 3
"""Number of starts of a call whose process or node dies, and of a job whose process dies before the job starts: Ray may hand a
job to a process that was killed for the previous one."""
AVOID_SECONDS = 20.0
"""Time that a job waits for another node than the one that lost it."""
GRACE_SECONDS = 2.0
"""Extra time for a job that reached its time limit with events that have not been read yet."""


class RayExecutor:
    """Runs jobs on the nodes of the Ray cluster that this process is connected to."""

    def __init__(
        self,
        nodes: Sequence[Node],
        plan: SlotPlan,
        *,
        use: ClusterUse,
        num_threads: int,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        """`nodes` run the jobs, each with `num_threads` PyTorch threads. `prepare` is called in every process after its
        imports, before its first call."""
        self._monitor = NodeMonitor(nodes, plan, use)
        self._call_options = CallOptions(num_threads=num_threads, prepare=prepare)
        self._tasks = RayTasks(self._call_options, cpus_per_task=plan.cpus_per_job)
        self._placement = Placement(plan, self._monitor)

    @property
    def num_slots(self) -> int:
        return self._monitor.num_slots

    @property
    def resources(self) -> Resources:
        return Resources(
            num_cores=self._placement.num_cores,
            shared_gpu_bytes=self._placement.shared_gpu_bytes,
            cluster=self._monitor.use,
        )

    def places(self) -> Mapping[int, str]:
        jobs = self._tasks.jobs()  # a job that waits for a node has no place
        return {job.number: self._monitor.name(task.node_id) for task, job in jobs if task.node_id is not None}

    def submit(self, job: RungJob) -> None:
        if len(self._tasks) >= self.num_slots:
            raise RuntimeError(f"all {self.num_slots} slots are taken")
        self._start_job(job)

    def _start_job(self, job: RungJob, *, num_starts: int = 1) -> None:
        options = self._placement.for_job(job)
        self._tasks.start(train_in_worker, (job,), {}, job=job, num_starts=num_starts, options=options)

    def poll(self, timeout_seconds: float) -> list[JobEvent]:
        self._monitor.update()
        running = {task.frames: task for task, _ in self._tasks.jobs()}
        if not running:
            return []
        wait = max(0.0, min(timeout_seconds, UPDATE_SECONDS, *(task.seconds_left for task in running.values())))
        ready, _ = ray.wait(list(running), num_returns=1, timeout=wait)
        if ready and len(running) > 1:
            ready, _ = ray.wait(list(running), num_returns=len(running), timeout=0)
        found: list[JobEvent] = []
        for frames in ready:
            found += self._next_events(running[frames])
        self._start_elsewhere(ready)
        return found + self._on_lost_nodes(ready) + self._timed_out(ready)

    def run(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        on: Location = "any",
        on_message: Callable[[Any], None] | None = None,
        **kwargs: Any,
    ) -> Any:
        if on == "every_machine":
            return self._run_on_every_node(function, args, kwargs)
        if on == "host":
            function, args, kwargs = run_with_observer, (function, args, kwargs), {}
        options = {"alone": self._placement.for_call_alone, "beside": self._placement.for_call_beside}
        make_options = options.get(on, self._placement.for_call)
        result = self._call(function, args, kwargs, make_options=make_options, on_message=on_message)
        return [result] if on == "every_gpu" else result

    def _run_on_every_node(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> list[Any]:
        def start(node_id: str) -> RayTask:
            return self._tasks.start(function, args, kwargs, options=self._placement.on_node(node_id))

        first, *others = self._monitor.sizes
        results = [self._wait_for(start(first), None)]
        tasks = [start(node_id) for node_id in others]
        try:
            results += [self._wait_for(task, None) for task in tasks]
        finally:
            for task in tasks:
                self._tasks.cancel(task)
        content = encode((self._call_options, encode((function, args, kwargs))))
        self._monitor.first_call = FirstCall(content=content, answer=results[0])
        return results

    def cancel(self) -> None:
        self._tasks.cancel_all()

    def close_idle(self) -> None:
        """Do nothing: a process that used a GPU ends with its job."""

    def close(self) -> None:
        self.cancel()
        self._monitor.close()

    def _next_events(self, task: RayTask) -> list[JobEvent]:
        """The events of a job's next frame."""
        assert task.job is not None  # calls are waited for in `_wait_for`
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
        if isinstance(event, Died) and task.started is None and task.num_starts < MAX_STARTS:
            self._start_job(task.job, num_starts=task.num_starts + 1)
            return []
        if isinstance(event, Died):
            return [self._lost_job(task, task.job, event)]
        self._placement.avoid(number, None)
        started = task.started or task.submitted
        is_crowded = self._placement.shares_gpu(task.job)
        return [JobEnd(number=number, report=report_of(event, time.monotonic() - started, is_crowded=is_crowded))]

    def _next(self, task: RayTask) -> TaskEvent | None:
        """The next event of a task; None if its frame only named the node."""
        event = self._tasks.next_event(task)
        if isinstance(event, Died):
            self._monitor.expire()
        return event

    def _call(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        make_options: Callable[[], Options],
        on_message: Callable[[Any], None] | None,
    ) -> Any:
        """Run a call, and start it again if its process or node dies: a search must not end with one node."""
        for starts_left in reversed(range(MAX_STARTS)):
            try:
                return self._wait_for(self._tasks.start(function, args, kwargs, options=make_options()), on_message)
            except TaskLostError:
                if not starts_left:
                    raise
                self._monitor.update()  # so that the next start avoids nodes that are excluded by now
        raise AssertionError("a call is started at least once")

    def _wait_for(self, task: RayTask, on_message: Callable[[Any], None] | None) -> Any:
        try:
            while True:
                ready, _ = ray.wait([task.frames], timeout=CALL_POLL_SECONDS)  # in slices, for Ctrl-C
                if not ready:
                    self._monitor.update()
                    if self._monitor.is_lost(task.node_id):
                        where = self._monitor.name(task.node_id)
                        raise TaskLostError(f"A task on {where} was lost: the node does not respond.")
                    continue
                match self._next(task):
                    case None if not self._monitor.is_admitted(task.node_id):  # it joined while the task was queued
                        self._monitor.expire()
                        raise TaskLostError(
                            f"{self._monitor.name(task.node_id)} has not been admitted to this search yet."
                        )
                    case Message(value):
                        if on_message is not None:
                            on_message(value)
                    case Returned(value):
                        return value
                    case Raised(error):
                        raise error
                    case Died() as died:
                        where = self._monitor.name(task.node_id)
                        hint = SAVE_MEMORY if died.lacked_memory else None
                        raise TaskLostError(f"A task on {where} was lost: {died.stderr}", hint=hint)
        finally:
            self._tasks.cancel(task)

    def _check_place(self, task: RayTask, job: RungJob) -> None:
        """Start a job again if it started on a node that joined while it was queued and has not been admitted."""
        if self._monitor.is_admitted(task.node_id):
            return
        self._monitor.expire()
        self._tasks.cancel(task)
        self._placement.avoid(job.number, task.node_id)
        self._start_job(job)

    def _start_elsewhere(self, ready: Sequence[Any]) -> None:
        """Let jobs that avoid a node run on any node, once they have waited AVOID_SECONDS for another one."""
        for task, job in self._tasks.jobs():
            waits = task.node_id is None and task.frames not in ready
            if waits and self._placement.avoids(job.number) and time.monotonic() - task.submitted > AVOID_SECONDS:
                self._tasks.cancel(task)
                self._placement.avoid(job.number, None)
                self._start_job(job)

    def _timed_out(self, ready: Sequence[Any]) -> list[JobEvent]:
        """Stop the jobs that reached their time limit. Jobs with unread events may have ended, and get GRACE_SECONDS more."""
        ended: list[JobEvent] = []
        for task, job in self._tasks.jobs():
            grace = GRACE_SECONDS if task.frames in ready else 0.0
            if task.seconds_left <= -grace:
                ended.append(JobEnd(number=job.number, report=timed_out(job, task.seconds)))
                self._tasks.cancel(task)
        return ended

    def _on_lost_nodes(self, ready: Sequence[Any]) -> list[JobEvent]:
        """End the jobs on lost nodes, where they would hang for minutes after the cluster has declared the node
        dead."""
        ended: list[JobEvent] = []
        for task, job in self._tasks.jobs():
            if self._monitor.is_lost(task.node_id) and task.frames not in ready:
                ended.append(self._lost_job(task, job, Died(exit_code=1, stderr="the node does not respond")))
                self._tasks.cancel(task)
        return ended

    def _lost_job(self, task: RayTask, job: RungJob, died: Died) -> JobEnd:
        self._placement.avoid(job.number, task.node_id)
        return JobEnd(number=job.number, report=lost_report(died, self._monitor.name(task.node_id), task))
