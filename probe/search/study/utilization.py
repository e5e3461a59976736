"""How well a search's slots are used: what their jobs took, and what was run again. Pure.

The share of idle time is 1 - (seconds that workers spent on jobs) / (slots x seconds of the trials' phase). Idle is whatever is
no job: a worker that starts or waits for the driver, a slot that the budget, the ladder or the memory leaves empty, all
slots but one while gradients refine the best trial, and those of a node that was lost.
"""

from __future__ import annotations

from probe.search.records.cluster import SlotUse
from probe.search.study.events import EpochReported, Event, SearchResumed, TrialEnded, TrialStarted


def idle_share(busy_seconds: float, *, num_slots: int, seconds: float) -> float | None:
    """Of `num_slots` over `seconds`, in which jobs took `busy_seconds` together: 0 to 1; None where there was no time."""
    if num_slots < 1 or seconds <= 0:
        return None
    return min(1.0, max(0.0, 1 - busy_seconds / (num_slots * seconds)))


class Utilization:
    """Sums over a search's events, at the same small cost for each of them."""

    def __init__(self) -> None:
        self.num_retries = 0
        """Rungs that were started again after their worker died."""
        self.earlier_seconds = 0.0
        """How long the sessions before this one trained, pauses between them left out; for `now`."""
        self._busy_seconds = 0.0
        """Of the jobs that are over."""
        self._reported: dict[int, float] = {}
        """Trial -> seconds that the epochs of its running job took so far."""
        self._started: dict[int, float] = {}
        """Trial -> when its running job was started, where that is known."""
        self._sum_started = 0.0
        self._crashed: set[int] = set()
        self._first: float | None = None

    def apply(self, event: Event, seconds: float | None = None) -> None:
        """Take note of an event; `seconds`: when it happened, on any clock that goes on; None for an earlier session's."""
        if self._first is None:
            self._first = seconds
        if isinstance(event, TrialStarted):
            self._start(event.number, seconds)
        elif isinstance(event, EpochReported):
            self._reported[event.number] += event.report.seconds
        elif isinstance(event, TrialEnded):
            self._leave(event.number, event.seconds)
            if event.outcome == "crashed":
                self._crashed.add(event.number)
        elif isinstance(event, SearchResumed):
            for number in list(self._reported):
                self._leave(number, 0.0)

    def now(self, seconds: float, *, num_slots: int) -> SlotUse:
        """While it runs, at that moment on the events' clock: jobs that run count from their start."""
        phase = 0.0 if self._first is None else self.earlier_seconds + seconds - self._first
        busy = self._busy_seconds + len(self._started) * seconds - self._sum_started
        return self._use(busy, phase, num_slots)

    def after(self, seconds: float, *, num_slots: int) -> SlotUse:
        """Once it is over, or was killed, after its sessions trained for `seconds` together: jobs that were cut off count
        with the epochs that they reported.

        `num_slots` are taken to have been there in all sessions: what earlier ones had is not known.
        """
        busy = self._busy_seconds
        for reported in self._reported.values():
            busy += reported
        return self._use(busy, seconds, num_slots)

    def _use(self, busy: float, phase: float, num_slots: int) -> SlotUse:
        return SlotUse(
            num_slots=num_slots,
            num_nodes=None,
            idle_share=idle_share(busy, num_slots=num_slots, seconds=phase),
            num_retries=self.num_retries,
        )

    def _start(self, number: int, seconds: float | None) -> None:
        self.num_retries += number in self._crashed
        self._crashed.discard(number)
        self._reported[number] = 0.0
        if seconds is not None:
            self._started[number] = seconds
            self._sum_started += seconds

    def _leave(self, number: int, seconds: float) -> None:
        """A job is over after `seconds`; one that was cut off says 0, and has at least its epochs behind it.

        Unknown here is one whose start Ctrl-C kept from being noted.
        """
        self._busy_seconds += max(seconds, self._reported.pop(number, 0.0))
        self._sum_started -= self._started.pop(number, 0.0)
