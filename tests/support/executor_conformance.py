"""What every executor promises; a test module subclasses this and says in fixtures how to make one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from probe.search.executors.protocol import Executor
from probe.search.jobs.jobs import JobEnd, JobEpoch, JobEvent, RungJob

MakeJob = Callable[..., RungJob]
"""make(number, epochs_from=0, epochs_to=2, fault="none")"""


def drain(executor: Executor, *, num_ends: int, seconds: float = 60.0) -> list[JobEvent]:
    """All events until that many jobs have ended."""
    events: list[JobEvent] = []
    deadline = time.monotonic() + seconds
    while sum(isinstance(event, JobEnd) for event in events) < num_ends:
        assert time.monotonic() < deadline, f"{num_ends} ends were expected, this came: {events}"
        events += executor.poll(0.5)
    return events


class ExecutorConformance:
    """Fixtures: `executor` with two slots, `job` a MakeJob."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path

    def test_every_epoch_comes_before_the_one_end(self, executor: Executor, job: MakeJob) -> None:
        executor.submit(job(0))
        events = drain(executor, num_ends=1)
        assert [event.report.epoch for event in events if isinstance(event, JobEpoch)] == [1, 2]
        assert isinstance(events[-1], JobEnd)
        assert events[-1].report.outcome == "finished"
        assert executor.poll(0.05) == []

    def test_more_jobs_than_slots_are_refused(self, executor: Executor, job: MakeJob) -> None:
        executor.submit(job(0))
        executor.submit(job(1))
        with pytest.raises(RuntimeError, match="slots"):
            executor.submit(job(2))
        drain(executor, num_ends=2)
        executor.submit(job(2))
        assert drain(executor, num_ends=1)[-1].number == 2

    @pytest.mark.parametrize(
        ("fault", "outcome"),
        [("raises", "failed"), ("dies", "crashed"), ("diverges", "diverged"), ("out_of_memory", "oom")],
    )
    def test_each_fault_is_the_outcome_of_one_job_and_frees_its_slot(
        self, executor: Executor, job: MakeJob, fault: str, outcome: str
    ) -> None:
        executor.submit(job(0, fault=fault))
        executor.submit(job(1))
        ends = {event.number: event.report for event in drain(executor, num_ends=2) if isinstance(event, JobEnd)}
        assert (ends[0].outcome, ends[1].outcome) == (outcome, "finished")
        executor.submit(job(2))
        assert drain(executor, num_ends=1)[-1].number == 2

    def test_places_are_those_of_running_jobs(self, executor: Executor, job: MakeJob) -> None:
        assert executor.places() == {}
        executor.submit(job(0, epochs_to=2000))
        executor.submit(job(1))
        assert set(executor.places()) in (set(), {0, 1})
        drain(executor, num_ends=1)
        assert set(executor.places()) in (set(), {0})
        executor.cancel()
        assert executor.places() == {}

    def test_nothing_is_heard_of_a_cancelled_job(self, executor: Executor, job: MakeJob) -> None:
        executor.submit(job(0, epochs_to=2000))
        executor.cancel()
        executor.submit(job(1))
        assert {event.number for event in drain(executor, num_ends=1)} == {1}
