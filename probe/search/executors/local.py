"""Jobs in worker processes of this machine: one persistent worker a slot, its GPU its own or shared."""

from __future__ import annotations

import importlib
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from probe.device.memory import num_cores
from probe.device.select import DeviceSpec
from probe.device.visible import VISIBLE_DEVICES
from probe.errors import ChangedDataError, OutputError, UserCodeError
from probe.search.executors.slots import MAX_DEFAULT_SLOTS, spread_slots
from probe.search.jobs.final_job import FinalJob, FinalOutcome
from probe.search.jobs.jobs import JobEnd, JobEpoch, JobEvent, JobStarted, RungJob, RungReport
from probe.search.jobs.worker_calls import run_final_training, train_in_worker
from probe.units import format_seconds
from probe.workers.pool import broadcast
from probe.workers.worker import Died, Message, Raised, Returned, Worker, WorkerDied, wait_any

ENDS_SEARCH = (OutputError, ChangedDataError)
"""Errors of jobs that are no fault of the trial's: a checkpoint that cannot be written, data that are others."""


@dataclass(slots=True)
class _Slot:
    gpu: int = 0
    worker: Worker | None = None
    is_used: bool = False
    """Its worker has run something: code of the user's may have left something behind in it."""
    job: RungJob | None = None
    started: float = 0.0
    """When its job was handed over, then when the worker began with it."""
    has_begun: bool = False


class LocalExecutor:
    """One persistent worker process a slot. One that dies is replaced, and takes only its own rung with it; so is one in which
    a call failed, other than a job on the CPU: an error of a device may outlive the call that caused it."""

    def __init__(
        self,
        num_slots: int,
        *,
        num_threads: int | None = None,
        env: Mapping[str, str] | None = None,
        prepare: Callable[[], object] | None = None,
        gpus: Sequence[str] = (),
    ) -> None:
        """`prepare` is run in every new worker after its imports. `gpus`: of several, what CUDA_VISIBLE_DEVICES is for each.
        A slot's workers then see its GPU alone, as cuda:0; the slots are spread evenly."""
        self._gpus = tuple(gpus[:num_slots]) if num_slots > 1 else ()
        self._slots = [_Slot(gpu=gpu) for gpu in spread_slots(num_slots, max(1, len(self._gpus)))]
        self._num_threads = num_threads
        self._env = env
        self._prepare = partial(prepare_worker, prepare)

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def num_slots(self) -> int:
        return len(self._slots)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that were started."""
        return [slot.worker.pid for slot in self._slots if slot.worker is not None]

    @property
    def slots_by_gpu(self) -> tuple[int, ...]:
        """How many slots each GPU has; one entry where nothing is spread over GPUs."""
        return tuple(Counter(slot.gpu for slot in self._slots).values())

    def submit(self, job: RungJob) -> None:
        slot = self._free_slot(job.gpu)
        if job.needs_fresh_process and slot.is_used:
            self._drop(slot)
        try:
            self._worker_of(slot).submit(train_in_worker, job)
        except WorkerDied:  # while it was idle
            self._drop(slot)
            self._worker_of(slot).submit(train_in_worker, job)
        slot.job = job
        slot.started = time.monotonic()
        slot.has_begun = False

    def poll(self, timeout_seconds: float) -> list[JobEvent]:
        busy = {id(slot.worker): slot for slot in self._slots if slot.worker is not None and slot.job is not None}
        workers = [slot.worker for slot in busy.values() if slot.worker is not None]
        if not workers:
            return []
        found: list[JobEvent] = []
        for worker, event in wait_any(workers, min(timeout_seconds, self._seconds_to_timeout())):
            slot = busy[id(worker)]
            if slot.job is None:  # died after its job had ended
                self._drop(slot)
            elif isinstance(event, Message) and isinstance(event.value, JobStarted):
                slot.started, slot.has_begun = time.monotonic(), True
            elif isinstance(event, Raised) and isinstance(event.error, ENDS_SEARCH):
                slot.job = None
                raise event.error
            elif isinstance(event, Message):
                found.append(JobEpoch(number=slot.job.number, report=event.value))
            else:
                found.append(JobEnd(number=slot.job.number, report=report_of(event, time.monotonic() - slot.started)))
                # An error may leave a GPU's context in which every call fails. On the CPU the process goes on: settings are
                # put back, and a job that fails in a used process is run again in a fresh one.
                is_lost = not isinstance(event, (Returned, Raised))
                needs_new = is_lost or (isinstance(event, Raised) and slot.job.device.is_gpu)
                slot.job = None
                if needs_new:
                    self._drop(slot, failed=True)
        return found + self._timed_out()

    def _seconds_to_timeout(self) -> float:
        """Until the first running job's time is up; infinite where none has a limit."""
        ends = [slot.started + limit for slot in self._slots if (limit := _limit_of(slot)) is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else math.inf

    def _timed_out(self) -> list[JobEvent]:
        """Ends the jobs whose time is up, with their workers: nothing else stops a step that hangs."""
        ended: list[JobEvent] = []
        for slot in self._slots:
            limit, seconds = _limit_of(slot), time.monotonic() - slot.started
            if slot.job is not None and limit is not None and seconds >= limit:
                ended.append(JobEnd(number=slot.job.number, report=timed_out(slot.job, seconds)))
                self._drop(slot)
        return ended

    def call(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        on_message: Callable[[Any], None] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run any function in a free slot's worker and wait for it. Raises what `Worker.call` raises."""
        slot = self._free_slot()
        try:
            return self._worker_of(slot).call(function, *args, on_message=on_message, **kwargs)
        except BaseException:
            # Interrupted in the middle of the call, its answer must not reach the next one.
            self._drop(slot, failed=True)
            raise

    def call_beside(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """In a free slot: somebody asks because there is one."""
        return self.call(function, *args)

    def call_everywhere(self, function: Callable[..., Any], /, *args: Any) -> list[Any]:
        return [self.call(function, *args)]

    def measure(self, function: Callable[..., Any], /, *args: Any, observer: Callable[[Any], None] | None) -> Any:
        return function(*args, observer=observer)

    @property
    def cluster(self) -> None:
        return None

    @property
    def cores_alone(self) -> int:
        return num_cores()

    @property
    def shared_gpu_bytes(self) -> None:
        return None

    def fit(self, job: FinalJob, *, on_message: Callable[[Any], None] | None) -> FinalOutcome:
        self.close()  # it has the machine to itself, and a process in which no trial has run
        outcome: FinalOutcome = self.call(run_final_training, job, on_message=on_message)
        return outcome

    def call_each(self, function: Callable[..., Any], /, *args: Any) -> list[Any]:
        """Run any function in a worker of every GPU, at the same time; what they return in the GPUs' order. Only while no job
        runs. Raises as `call`."""
        if len(self._gpus) < 2:
            return [self.call(function, *args)]
        slots = self._slots[: len(self._gpus)]
        try:
            return broadcast([self._worker_of(slot) for slot in slots], self._gpus, function, *args)
        except BaseException:  # an answer that nobody has read must not reach the next call
            for slot in slots:
                self._drop(slot, failed=True)
            raise

    def places(self) -> Mapping[int, str]:
        if len(self._gpus) < 2:
            return {}
        return {slot.job.number: f"cuda:{slot.gpu}" for slot in self._slots if slot.job is not None}

    def num_idle(self, gpu: int = 0) -> int:
        """Workers that were started and wait. Each of them holds a context of the GPU that it has used."""
        return sum(slot.worker is not None and slot.job is None for slot in self._slots if slot.gpu == gpu)

    def cancel(self) -> None:
        for slot in self._slots:
            if slot.job is not None:
                self._drop(slot)

    def close(self) -> None:
        for slot in self._slots:
            self._drop(slot)

    def _free_slot(self, gpu: int | None = None) -> _Slot:
        """The first free one, of the GPU with the fewest jobs where it may be any."""
        free = [slot for slot in self._slots if slot.job is None and gpu in (None, slot.gpu)]
        if not free:
            where = "" if gpu is None else f" of cuda:{gpu}"
            raise RuntimeError(f"all {len(self._slots)} slots{where} are taken")
        num_jobs = Counter(slot.gpu for slot in self._slots if slot.job is not None)
        return min(free, key=lambda slot: num_jobs[slot.gpu])

    def _worker_of(self, slot: _Slot) -> Worker:
        if slot.worker is None:
            pin = {VISIBLE_DEVICES: self._gpus[slot.gpu]} if self._gpus else {}
            env = {**(self._env or {}), **pin}
            slot.worker = Worker(num_threads=self._num_threads, env=env, prepare=self._prepare)
        slot.is_used = True
        return slot.worker

    def _drop(self, slot: _Slot, *, failed: bool = False) -> None:
        """End a slot's worker; at once where a call `failed`, since its code may not end by itself."""
        worker, slot.worker, slot.job, slot.is_used = slot.worker, None, None, False
        if worker is not None:
            if failed:
                worker.kill()
            worker.close()


def prepare_worker(then: Callable[[], object] | None) -> None:
    """In a process that will run jobs: import what they need, once, then make settings for all of them."""
    importlib.import_module("probe.search.jobs.final_training")  # with it PyTorch and all of probe.training
    if then is not None:
        then()


def _limit_of(slot: _Slot) -> float | None:
    """A worker that still imports PyTorch uses none of the trial's time."""
    return slot.job.max_seconds if slot.job is not None and slot.has_begun else None


def default_slots(device: DeviceSpec, num_gpus: int = 1) -> int:
    """Workers side by side: one a GPU, where they would share its memory; on the CPU one for each core, at most four."""
    return num_gpus if device.is_gpu else max(1, min(num_cores(), MAX_DEFAULT_SLOTS))


def threads_per_slot(num_slots: int) -> int:
    """PyTorch's threads of each worker: the cores, divided."""
    return max(1, num_cores() // num_slots)


def timed_out(job: RungJob, seconds: float) -> RungReport:
    """Of a job that was ended after `seconds`."""
    message = f"Its time of {format_seconds(job.trial_seconds or job.max_seconds or seconds)} was up."
    return RungReport(outcome="timeout", seconds=seconds, message=message)


def report_of(event: Returned | Raised | Died, seconds: float) -> RungReport:
    """How a job ended; `seconds` is its time where its worker did not say."""
    if isinstance(event, Returned):
        report: RungReport = event.value
        return report
    if isinstance(event, Died):
        return RungReport(outcome="crashed", seconds=seconds, message=f"The worker {event.description}")
    error = event.error
    text = error.traceback if isinstance(error, UserCodeError) else str(error)
    return RungReport(outcome="failed", seconds=seconds, message=text)
