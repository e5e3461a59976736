"""The conformance suites of executors. A test module subclasses them, with fixtures that make the executor."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from probe.device.select import DeviceSpec
from probe.errors import UserCodeError
from probe.loading.records import ValidationSplit
from probe.search.executors.protocol import Executor, Location, SearchExecutor
from probe.search.jobs.jobs import JobEnd, JobEpoch, JobEvent, RungJob
from probe.tasks.source import TargetSource
from probe.training.records import EpochReport
from probe.workers.child import send_message

MakeJob = Callable[..., RungJob]
"""make(number, epochs_from=0, epochs_to=2, fault="none")"""


def drain(executor: Executor, *, num_ends: int, seconds: float = 60.0) -> list[JobEvent]:
    """Poll until `num_ends` jobs have ended; returns all events."""
    events: list[JobEvent] = []
    deadline = time.monotonic() + seconds
    while sum(isinstance(event, JobEnd) for event in events) < num_ends:
        assert time.monotonic() < deadline, f"{num_ends} ends were expected, this came: {events}"
        events += executor.poll(0.5)
    return events


def make_job(folder: Path, number: int, *, epochs_from: int = 0, epochs_to: int = 2, fault: str = "none") -> RungJob:
    """A rung of trial `number` with the task `searched_task:blobs`, whose checkpoints are in `folder`."""
    return RungJob(
        number=number,
        source=TargetSource(target="searched_task:blobs"),
        params={"width": 4, "fault": fault, "lr": 0.1},
        seed=number,
        split=ValidationSplit(fraction=0.25, seed=7),
        device=DeviceSpec(kind="cpu"),
        planned_epochs=4,
        epochs_from=epochs_from,
        epochs_to=epochs_to,
        checkpoint_in=folder / f"{number}-{epochs_from}.pt" if epochs_from else None,
        checkpoint_out=folder / f"{number}-{epochs_to}.pt",
    )


class ExecutorConformance:
    """Fixtures: `executor`, an executor with two slots."""

    tells_signals = True
    """Whether the executor learns by which signal a worker died."""

    @pytest.fixture
    def job(self, folder: Path) -> MakeJob:
        return partial(make_job, folder)

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
        [
            ("raises", "failed"),
            ("killed", "host_oom"),
            ("dies", "crashed"),
            ("exits", "crashed"),
            ("diverges", "diverged"),
            ("out_of_memory", "oom"),
        ],
    )
    def test_each_fault_is_the_outcome_of_one_job_and_frees_its_slot(
        self, executor: Executor, job: MakeJob, fault: str, outcome: str
    ) -> None:
        if fault == "killed" and not self.tells_signals:
            outcome = "crashed"
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


def observed_sum(first: int, second: int, *, observer: Callable[[Any], None]) -> int:
    observer(first)
    return first + second


def sum_with_messages(first: int, second: int) -> int:
    send_message(first)
    send_message(second)
    return first + second


class SearchExecutorConformance(ExecutorConformance):
    """Fixtures: as of ExecutorConformance; `executor` is a SearchExecutor. Set `num_machines` and `num_gpus` if it has more."""

    num_machines = 1
    num_gpus = 1

    @pytest.mark.parametrize("on", ["any", "beside", "every_gpu", "every_machine", "alone"])
    def test_functions_run_anywhere(self, executor: SearchExecutor, on: Location) -> None:
        counts = {"every_gpu": self.num_gpus, "every_machine": self.num_machines}
        expected = [3] * counts[on] if on in counts else 3
        assert executor.run(operator.add, 1, 2, on=on) == expected

    def test_messages_arrive_in_order_before_the_result(self, executor: SearchExecutor) -> None:
        messages: list[int] = []
        assert executor.run(sum_with_messages, 1, 2, on_message=messages.append) == 3
        assert messages == [1, 2]

    def test_a_function_on_the_host_reports_to_its_observer(self, executor: SearchExecutor) -> None:
        messages: list[int] = []
        assert executor.run(observed_sum, 1, 2, on="host", on_message=messages.append) == 3
        assert messages == [1]

    def test_an_error_of_a_function_is_raised_and_the_next_call_succeeds(self, executor: SearchExecutor) -> None:
        with pytest.raises(UserCodeError, match="ZeroDivisionError"):
            executor.run(operator.truediv, 1, 0)
        assert executor.run(operator.add, 1, 2) == 3

    def test_resources_are_positive(self, executor: SearchExecutor) -> None:
        resources = executor.resources
        assert resources.num_cores >= 1
        assert len(resources.slots_by_gpu) == len(resources.idle_by_gpu)
        assert sum(resources.slots_by_gpu) in (0, executor.num_slots)

    def test_a_user_bug_comes_with_their_traceback(self, executor: SearchExecutor, folder: Path) -> None:
        executor.submit(make_job(folder, 0, fault="raises"))
        end = drain(executor, num_ends=1)[-1]
        assert isinstance(end, JobEnd)
        assert "a bug of the user's own" in (end.report.message or "")
        assert "searched_task.py" in (end.report.message or "")

    def test_a_job_is_stopped_at_its_time_limit_and_its_slot_is_free(
        self, executor: SearchExecutor, folder: Path
    ) -> None:
        executor.submit(replace(make_job(folder, 0, fault="hangs"), max_seconds=0.2, trial_seconds=120.0))
        executor.submit(replace(make_job(folder, 1), max_seconds=600.0))
        ends = {event.number: event.report for event in drain(executor, num_ends=2) if isinstance(event, JobEnd)}
        assert (ends[0].outcome, ends[1].outcome) == ("timeout", "finished")
        assert ends[0].message == "Stopped at its time limit of 2 min 00 s."
        executor.submit(make_job(folder, 2))
        assert drain(executor, num_ends=1)[-1].number == 2

    def test_a_trial_continues_from_its_checkpoint_in_another_process(
        self, executor: SearchExecutor, folder: Path
    ) -> None:
        def reports(job: RungJob) -> list[EpochReport]:
            executor.submit(job)
            events: list[JobEvent] = []
            while not any(isinstance(event, JobEnd) and event.number == job.number for event in events):
                events += executor.poll(0.5)
            return [event.report for event in events if isinstance(event, JobEpoch) and event.number == job.number]

        whole = reports(make_job(folder, 0, epochs_to=4))
        reports(make_job(folder, 0, epochs_to=1))
        executor.submit(make_job(folder, 1, epochs_to=100_000))  # keeps the process that has trained until now
        rest = reports(make_job(folder, 0, epochs_from=1, epochs_to=4))
        executor.cancel()
        assert [report.epoch for report in rest] == [2, 3, 4]
        assert [(r.train_loss, r.val_loss) for r in rest] == [(r.train_loss, r.val_loss) for r in whole[1:]]
