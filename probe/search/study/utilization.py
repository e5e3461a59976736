"""Utilization of a search's slots: seconds that jobs ran / (slots x seconds in which trials ran).

Idle time is everything else: a worker that starts or waits for the driver; a slot that budget, scheduler or memory
leave empty; all slots but one while gradients refine the best trial; and the slots of a lost node.
"""

from __future__ import annotations

from probe.search.records.cluster import SlotUse
from probe.search.study.events import EpochReported, Event, SearchResumed, TrialEnded, TrialStarted


def utilization(busy_seconds: float, *, num_slots: int, seconds: float) -> float | None:
    """Return the fraction of `num_slots` x `seconds` that `busy_seconds` of jobs are; None without time."""
    if num_slots < 1 or seconds <= 0:
        return None
    return min(1.0, max(0.0, busy_seconds / (num_slots * seconds)))


class Utilization:
    """Running sums over a search's events, at a small constant cost for each."""

    def __init__(self) -> None:
        self.num_retries = 0
        """Rungs that were restarted after their worker died."""
        self.earlier_seconds = 0.0
        """Seconds that earlier sessions trained, without the pauses between them; used by `now`."""
        self._busy_seconds = 0.0
        """Seconds of the jobs that ended."""
        self._reported: dict[int, float] = {}
        """Trial -> seconds of the epochs reported by its running job."""
        self._started: dict[int, float] = {}
        """Trial -> time at which its running job was started, if known."""
        self._sum_started = 0.0
        self._crashed: set[int] = set()
        self._first: float | None = None

    def apply(self, event: Event, seconds: float | None = None) -> None:
        """Update the sums. `seconds`: monotonic time of the event; None for an event of an earlier session."""
        if self._first is None:
            self._first = seconds
        if isinstance(event, TrialStarted):
            self._start(event.number, seconds)
        elif isinstance(event, EpochReported):
            self._reported[event.number] += event.report.seconds
        elif isinstance(event, TrialEnded):
            self._leave(event.number, event.report.seconds)
            if event.report.outcome in ("crashed", "host_oom"):
                self._crashed.add(event.number)
        elif isinstance(event, SearchResumed):
            for number in list(self._reported):
                self._leave(number, 0.0)

    def now(self, seconds: float, *, num_slots: int) -> SlotUse:
        """Return the use of the slots at a time on the events' clock; running jobs count from their start."""
        phase = 0.0 if self._first is None else self.earlier_seconds + seconds - self._first
        busy = self._busy_seconds + len(self._started) * seconds - self._sum_started
        return self._use(busy, phase, num_slots)

    def after(self, seconds: float, *, num_slots: int) -> SlotUse:
        """Return the use of the slots after all sessions, which trained for `seconds` in total. Jobs that were cut off
        count with the epochs they reported. `num_slots` is assumed for all sessions."""
        busy = self._busy_seconds
        for reported in self._reported.values():
            busy += reported
        return self._use(busy, seconds, num_slots)

    def _use(self, busy: float, phase: float, num_slots: int) -> SlotUse:
        return SlotUse(
            num_slots=num_slots,
            num_nodes=None,
            utilization=utilization(busy, num_slots=num_slots, seconds=phase),
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
        """A job ended after `seconds`. A cut-off job reports 0 and counts with its epochs instead. The job is unknown
        if Ctrl-C prevented its start from being recorded."""
        self._busy_seconds += max(seconds, self._reported.pop(number, 0.0))
        self._sum_started -= self._started.pop(number, 0.0)
