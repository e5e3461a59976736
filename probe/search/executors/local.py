"""Runs jobs in worker processes of this machine, one persistent process per slot."""

from __future__ import annotations

import importlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from probe.device.environment import num_cores
from probe.device.select import VISIBLE_DEVICES, DeviceSpec
from probe.errors import ChangedDataError, OutputError
from probe.search.executors.job_reports import report_of, timed_out
from probe.search.executors.protocol import Location, Resources
from probe.search.executors.slots import MAX_DEFAULT_SLOTS, spread_slots
from probe.search.jobs.jobs import JobEnd, JobEpoch, JobEvent, JobStarted, RungJob
from probe.search.jobs.worker_calls import train_in_worker
from probe.workers.death import WorkerDied
from probe.workers.worker import Message, Raised, Returned, Worker, broadcast, wait_any

ENDS_SEARCH = (OutputError, ChangedDataError)
"""Errors of a job that end the search: a checkpoint cannot be written, or the data have changed."""
NOTABLE_BYTES = 64 * 2**20
"""Memory of a GPU that a process may hold between jobs without crowding the next one. Two workspaces of cuBLAS take less."""


@dataclass(slots=True)
class _Slot:
    gpu: int = 0
    worker: Worker | None = None
    is_used: bool = False
    """Whether user code has run in the worker, and may have changed the state of its process."""
    job: RungJob | None = None
    started: float = 0.0
    """Time at which the job was submitted, or started if `is_running`."""
    is_running: bool = False
    """Whether the worker has started the job: importing PyTorch takes none of a trial's time."""
    is_crowded: bool = False
    """Whether the job shares its GPU with other workers, or with what earlier jobs left in its process."""
    held_bytes: int = 0
    """What the last job left on the GPU, without the context of the process."""


class LocalExecutor:
    """Runs one persistent worker process per slot. A worker that dies is replaced, and only its own job is lost. It is
    also replaced after a failed call or a failed job on a GPU, since the error may have left the GPU's context
    unusable."""

    def __init__(
        self,
        num_slots: int,
        *,
        num_threads: int | None = None,
        env: Mapping[str, str] | None = None,
        prepare: Callable[[], object] | None = None,
        gpus: Sequence[str] = (),
    ) -> None:
        """Workers start when they are needed, with `num_threads` PyTorch threads; `prepare` is called in each after its
        imports. `gpus` has the value of CUDA_VISIBLE_DEVICES for each GPU: several slots are spread evenly over the
        GPUs, and a worker sees only the GPU of its slot, as cuda:0."""
        self._gpus = tuple(gpus[:num_slots]) if num_slots > 1 else ()
        self._slots = [_Slot(gpu=gpu) for gpu in spread_slots(num_slots, max(1, len(self._gpus)))]
        self._num_threads = num_threads
        self._env = env
        self._prepare = partial(prepare_worker, prepare)
        self._offered: dict[int, int] = {}
        """GPU -> memory that other programs left free when a worker last opened it while no other worker existed there."""

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def num_slots(self) -> int:
        return len(self._slots)

    @property
    def pids(self) -> list[int]:
        """Process ids of the running workers."""
        return [slot.worker.pid for slot in self._slots if slot.worker is not None]

    @property
    def resources(self) -> Resources:
        slots_by_gpu = Counter(slot.gpu for slot in self._slots)
        idle = [[slot.held_bytes for slot in self._idle_slots(gpu)] for gpu in slots_by_gpu]
        return Resources(
            num_cores=num_cores(),
            slots_by_gpu=tuple(slots_by_gpu.values()),
            idle_by_gpu=tuple(map(len, idle)),
            held_by_gpu=tuple(map(sum, idle)),
            offered_by_gpu=tuple(self._offered.get(gpu) for gpu in slots_by_gpu),
        )

    def submit(self, job: RungJob) -> None:
        slot = self._free_slot(job.gpu)
        if job.needs_fresh_process and slot.is_used:
            self._drop(slot)
        if job.needs_room:
            self.close_idle(slot.gpu, but=slot)
        try:
            self._worker_of(slot).submit(train_in_worker, job)
        except WorkerDied:  # it died while it was idle
            self._drop(slot)
            self._worker_of(slot).submit(train_in_worker, job)
        slot.job = job
        slot.started = time.monotonic()
        slot.is_running = False
        self._note_crowding(slot)

    def _note_crowding(self, slot: _Slot) -> None:
        others = [other for other in self._slots if other.gpu == slot.gpu and other.worker and other is not slot]
        slot.is_crowded = bool(others) or slot.held_bytes > NOTABLE_BYTES
        for other in others:
            other.is_crowded = True

    def poll(self, timeout_seconds: float) -> list[JobEvent]:
        busy = {id(slot.worker): slot for slot in self._slots if slot.worker is not None and slot.job is not None}
        workers = [slot.worker for slot in busy.values() if slot.worker is not None]
        if not workers:
            return []
        found: list[JobEvent] = []
        for worker, event in wait_any(workers, min(timeout_seconds, self._seconds_to_timeout())):
            slot = busy[id(worker)]
            if slot.job is None:  # the worker died after the end of its job
                self._drop(slot)
            elif isinstance(event, Message) and isinstance(event.value, JobStarted):
                self._started(slot, event.value)
            elif isinstance(event, Raised) and isinstance(event.error, ENDS_SEARCH):
                slot.job = None
                raise event.error
            elif isinstance(event, Message):
                found.append(JobEpoch(number=slot.job.number, report=event.value))
            else:
                is_crowded = slot.job.device.is_gpu and slot.is_crowded
                report = report_of(event, time.monotonic() - slot.started, is_crowded=is_crowded)
                found.append(JobEnd(number=slot.job.number, report=report))
                slot.held_bytes = report.held_bytes
                # An error may leave a GPU's context in a state in which every call fails. On the CPU the worker is kept: its
                # settings are restored, and a job that failed in a used process is repeated in a new one.
                is_lost = not isinstance(event, (Returned, Raised))
                needs_new = is_lost or (isinstance(event, Raised) and slot.job.device.is_gpu)
                slot.job = None
                if needs_new:
                    self._drop(slot, failed=True)
        return found + self._timed_out()

    def _started(self, slot: _Slot, message: JobStarted) -> None:
        slot.started, slot.is_running = time.monotonic(), True
        is_alone = all(other is slot for other in self._slots if other.gpu == slot.gpu and other.worker)
        if is_alone and message.offered_bytes is not None:  # otherwise it leaves out what other workers use
            self._offered[slot.gpu] = message.offered_bytes

    def _seconds_to_timeout(self) -> float:
        """Seconds until the first running job reaches its time limit; infinite if no job has a limit."""
        ends = [slot.started + limit for slot in self._slots if (limit := _limit_of(slot)) is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else math.inf

    def _timed_out(self) -> list[JobEvent]:
        """Stop the jobs that reached their time limit by ending their workers, which also stops a step that hangs."""
        ended: list[JobEvent] = []
        for slot in self._slots:
            limit, seconds = _limit_of(slot), time.monotonic() - slot.started
            if slot.job is not None and limit is not None and seconds >= limit:
                ended.append(JobEnd(number=slot.job.number, report=timed_out(slot.job, seconds)))
                self._drop(slot)
        return ended

    def run(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        on: Location = "any",
        on_message: Callable[[Any], None] | None = None,
        **kwargs: Any,
    ) -> Any:
        if on == "host":
            return function(*args, **kwargs, observer=on_message)
        if on == "every_gpu" and len(self._gpus) > 1:
            with self._usable_slots(self._slots[: len(self._gpus)]) as slots:
                return broadcast(
                    [self._worker_of(slot) for slot in slots],
                    self._gpus,
                    partial(function, **kwargs) if kwargs else function,
                    *args,
                )
        if on == "alone":
            self.close()
        with self._usable_slots([self._free_slot()]) as [slot]:
            result = self._worker_of(slot).call(function, *args, on_message=on_message, **kwargs)
        return [result] if on in ("every_gpu", "every_machine") else result

    @contextmanager
    def _usable_slots(self, slots: Sequence[_Slot]) -> Iterator[Sequence[_Slot]]:
        """Slots for a call. If it fails, their workers are ended: the next call must not receive a late answer."""
        try:
            yield slots
        except BaseException:
            for slot in slots:
                self._drop(slot, failed=True)
            raise

    def places(self) -> Mapping[int, str]:
        if len(self._gpus) < 2:
            return {}
        return {slot.job.number: f"cuda:{slot.gpu}" for slot in self._slots if slot.job is not None}

    def cancel(self) -> None:
        for slot in self._slots:
            if slot.job is not None:
                self._drop(slot)

    def close(self) -> None:
        with ExitStack() as stack:  # which ends all workers, also if Ctrl-C interrupts the end of one
            for slot in self._slots:
                stack.callback(self._drop, slot)

    def close_idle(self, gpu: int | None = None, *, but: _Slot | None = None) -> None:
        for slot in self._idle_slots(gpu):
            if slot is not but:
                self._drop(slot)

    def _idle_slots(self, gpu: int | None) -> list[_Slot]:
        return [slot for slot in self._slots if slot.worker and slot.job is None and gpu in (None, slot.gpu)]

    def _free_slot(self, gpu: int | None = None) -> _Slot:
        """A free slot of `gpu`, by default of the GPU with the fewest jobs; first those that have a worker."""
        free = [slot for slot in self._slots if slot.job is None and gpu in (None, slot.gpu)]
        if not free:
            where = "" if gpu is None else f" of cuda:{gpu}"
            raise RuntimeError(f"all {len(self._slots)} slots{where} are taken")
        num_jobs = Counter(slot.gpu for slot in self._slots if slot.job is not None)
        return min(free, key=lambda slot: (num_jobs[slot.gpu], slot.worker is None))

    def _worker_of(self, slot: _Slot) -> Worker:
        if slot.worker is not None and slot.worker.is_spent:
            self._drop(slot)
        if slot.worker is None:
            pin = {VISIBLE_DEVICES: self._gpus[slot.gpu]} if self._gpus else {}
            env = {**(self._env or {}), **pin}
            slot.worker = Worker(num_threads=self._num_threads, env=env, prepare=self._prepare)
        slot.is_used = True
        return slot.worker

    def _drop(self, slot: _Slot, *, failed: bool = False) -> None:
        """End the worker of a slot; kill it if a call `failed`, since its code may still be running."""
        worker, slot.worker, slot.job, slot.is_used, slot.held_bytes = slot.worker, None, None, False, 0
        if worker is not None:
            if failed:
                worker.kill()
            worker.close()


def prepare_worker(then: Callable[[], object] | None) -> None:
    """Prepare a process for jobs: import PyTorch and `probe.training`, then call `then`."""
    importlib.import_module("probe.search.jobs.final_training")
    if then is not None:
        then()


def _limit_of(slot: _Slot) -> float | None:
    return slot.job.max_seconds if slot.job is not None and slot.is_running else None


def default_slots(device: DeviceSpec, num_gpus: int = 1) -> int:
    """Default number of workers: one per GPU, since workers share its memory; on the CPU one per core, at most four."""
    return num_gpus if device.is_gpu else max(1, min(num_cores(), MAX_DEFAULT_SLOTS))


def threads_per_slot(num_slots: int) -> int:
    """Number of PyTorch threads of each worker: the cores of this machine, divided by the number of workers."""
    return max(1, num_cores() // num_slots)
