"""A cluster that is simulated under a driver that is not: rungs take simulated seconds, and so does what the driver does.

While the driver works for a millisecond, every slot's clock goes on by a millisecond, and a slot whose rung is over stands
idle until the driver comes to it. For driver_scaling.py.
"""

from __future__ import annotations

import heapq
import itertools
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from probe.search.jobs.jobs import JobEnd, JobEpoch, JobEvent, RungJob, RungReport
from probe.search.records.search import ParamValue
from probe.search.samplers.protocol import Sampler, Verdict
from probe.search.space.space import Positions
from probe.seeds import derive_seed
from probe.training.records import EpochReport

MAX_DRIVER_SECONDS = 1200.0
"""Of one search: it ends there with the rungs that it has, and the table says how many."""


class DriverClock:
    """Seconds that this thread worked or waited for the disk: not those in which others had its core."""

    def __init__(self) -> None:
        self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)

    def __call__(self) -> float:
        _, queued_ns, _ = os.pread(self._file, 64, 0).split()
        return time.perf_counter() - int(queued_ns) / 1e9


@dataclass
class Parts:
    """The driver's seconds by what it did."""

    clock: DriverClock
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        started = self.clock()
        yield
        self.seconds[what] += self.clock() - started


class TimedSampler:
    """A sampler with a clock at its door."""

    exhausted = False

    def __init__(self, sampler: Sampler, parts: Parts) -> None:
        self.name = sampler.name
        self._sampler = sampler
        self._parts = parts

    def ask(self, number: int, *, at: Positions | None = None) -> dict[str, ParamValue]:
        with self._parts.of("ask"):
            return self._sampler.ask(number, at=at)

    def tell(self, number: int, verdict: Verdict, value: float | None = None) -> None:
        with self._parts.of("tell"):
            self._sampler.tell(number, verdict, value)

    def discard(self, number: int) -> None:
        self._sampler.discard(number)


@dataclass
class Mark:
    """Where a simulation stood."""

    simulated: float
    driver: float
    num_submitted: int
    num_rows: int
    idle_slot_seconds: float
    parts: dict[str, float]


class SimulatedCluster:
    """Slots whose rungs take simulated seconds. Between its calls the driver works, and simulated time goes on by as much."""

    def __init__(self, num_slots: int, *, rung_seconds: float, num_rungs: int, parts: Parts) -> None:
        self.num_slots = num_slots
        self.now = 0.0
        self.driver_seconds = 0.0
        self.num_submitted = 0
        self.num_rows = 0
        self.filled: Mark | None = None
        """When every slot had had a job."""
        self.last: Mark | None = None
        """When the last rung was asked for."""
        self._rung_seconds = rung_seconds
        self._num_rungs = num_rungs
        self._parts = parts
        self._timeline: list[tuple[float, int, JobEvent]] = []
        self._order = itertools.count()
        self._freed_at = [0.0] * num_slots
        """When each slot that is free now became it, earliest first; they are alike, so that any of them may be taken."""
        self._idle_slot_seconds = 0.0
        self._left_at = parts.clock()
        self._began = self._left_at

    def places(self) -> Mapping[int, str]:
        return {}

    def submit(self, job: RungJob) -> None:
        self._charge()
        if not self._freed_at:
            raise RuntimeError("all slots are taken")
        self._idle_slot_seconds += self.now - heapq.heappop(self._freed_at)
        share = derive_seed(0, job.number, job.epochs_to, "length") / 2**63
        seconds = self._rung_seconds * (0.5 + share)
        quality = derive_seed(0, job.number, "quality") / 2**63
        num_epochs = job.epochs_to - job.epochs_from
        for k in range(1, num_epochs + 1):
            value = quality * (1 - 0.5 ** (job.epochs_from + k))
            report = EpochReport(
                epoch=job.epochs_from + k,
                train_loss=1 - value,
                val_loss=1 - value,
                metrics={"accuracy": value},
                seconds=seconds / num_epochs,
            )
            self._add(seconds * (k / num_epochs), JobEpoch(number=job.number, report=report))
        self._add(seconds, JobEnd(number=job.number, report=RungReport(outcome="finished", seconds=seconds)))
        self.num_submitted += 1
        if self.num_submitted == self.num_slots:
            self.filled = self._mark()
        self._leave()

    def poll(self, timeout_seconds: float) -> list[JobEvent]:
        self._charge()
        if self.num_submitted >= self._num_rungs or self.driver_seconds > MAX_DRIVER_SECONDS:
            self.last = self._mark()
            raise KeyboardInterrupt
        if self._timeline and self._timeline[0][0] > self.now:  # the driver waits for the slots
            self.now = min(self._timeline[0][0], self.now + timeout_seconds)
        due: list[JobEvent] = []
        while self._timeline and self._timeline[0][0] <= self.now:
            at, _, event = heapq.heappop(self._timeline)
            due.append(event)
            if isinstance(event, JobEnd):
                heapq.heappush(self._freed_at, at)
        self._leave()
        return due

    def cancel(self) -> None: ...
    def close(self) -> None: ...

    def _add(self, after_seconds: float, event: JobEvent) -> None:
        heapq.heappush(self._timeline, (self.now + after_seconds, next(self._order), event))

    def _charge(self) -> None:
        """What the driver took since it was last here."""
        taken = self._parts.clock() - self._left_at
        self.driver_seconds += taken
        self.now += taken

    def _leave(self) -> None:
        self._left_at = self._parts.clock()

    def _mark(self) -> Mark:
        """Slots that are free have waited until now."""
        ended = [at for at, _, event in self._timeline if isinstance(event, JobEnd) and at <= self.now]
        waiting = sum(self.now - at for at in (*self._freed_at, *ended))
        return Mark(
            simulated=self.now,
            driver=self.driver_seconds,
            num_submitted=self.num_submitted,
            num_rows=self.num_rows,
            idle_slot_seconds=self._idle_slot_seconds + waiting,
            parts=dict(self._parts.seconds),
        )
