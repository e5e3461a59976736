from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from decision_conformance import DecisionConformance
from executor_conformance import ExecutorConformance, MakeJob, drain
from scripted_executor import ScriptedExecutor

from probe.device.select import DeviceSpec
from probe.errors import UserCodeError
from probe.search.executors.local import LocalExecutor, default_slots, threads_per_slot
from probe.search.jobs.jobs import JobEnd, JobEpoch, JobEvent, Outcome, RungJob, Split
from probe.tasks.source import TargetSource
from probe.training.records import EpochReport

OUTCOMES: dict[str, Outcome] = {
    "raises": "failed",
    "dies": "crashed",
    "diverges": "diverged",
    "out_of_memory": "oom",
}


def make_job(folder: Path, number: int, *, epochs_from: int = 0, epochs_to: int = 2, fault: str = "none") -> RungJob:
    return RungJob(
        number=number,
        source=TargetSource(target="searched_task:blobs"),
        params={"width": 4, "fault": fault, "lr": 0.1},
        seed=number,
        split=Split(share=0.25, seed=7),
        device=DeviceSpec(kind="cpu"),
        planned_epochs=4,
        epochs_from=epochs_from,
        epochs_to=epochs_to,
        checkpoint_in=folder / f"{number}-{epochs_from}.pt" if epochs_from else None,
        checkpoint_out=folder / f"{number}-{epochs_to}.pt",
    )


class TestScriptedExecutor(ExecutorConformance, DecisionConformance):
    @pytest.fixture
    def single(self) -> ScriptedExecutor:
        return ScriptedExecutor()

    @pytest.fixture
    def executor(self) -> ScriptedExecutor:
        return ScriptedExecutor(num_slots=2, fault=lambda job, epoch, _: OUTCOMES.get(str(job.params["fault"])))

    @pytest.fixture
    def job(self, folder: Path) -> MakeJob:
        return lambda number, **options: make_job(folder, number, **options)


class TestScriptedExecutorOfTwoGpus(TestScriptedExecutor):
    @pytest.fixture
    def executor(self) -> ScriptedExecutor:
        return ScriptedExecutor(
            num_slots=2, num_gpus=2, fault=lambda job, epoch, _: OUTCOMES.get(str(job.params["fault"]))
        )


@pytest.fixture(scope="module")
def local_executor() -> Iterator[LocalExecutor]:
    with LocalExecutor(2, num_threads=1) as executor:
        yield executor


class TestLocalExecutor(ExecutorConformance, DecisionConformance):
    @pytest.fixture
    def single(self) -> Iterator[LocalExecutor]:
        with LocalExecutor(1, num_threads=1) as executor:
            yield executor

    @pytest.fixture
    def executor(self, local_executor: LocalExecutor) -> LocalExecutor:
        return local_executor

    @pytest.fixture
    def job(self, folder: Path) -> MakeJob:
        return lambda number, **options: make_job(folder, number, **options)

    def test_a_user_bug_comes_with_their_traceback(self, executor: LocalExecutor, folder: Path) -> None:
        executor.submit(make_job(folder, 0, fault="raises"))
        end = drain(executor, num_ends=1)[-1]
        assert isinstance(end, JobEnd)
        assert "a bug of the user's own" in (end.report.message or "")
        assert "searched_task.py" in (end.report.message or "")

    def test_a_job_whose_time_is_up_is_ended_and_its_slot_is_free(self, executor: LocalExecutor, folder: Path) -> None:
        executor.submit(replace(make_job(folder, 0, fault="hangs"), max_seconds=0.2, trial_seconds=120.0))
        executor.submit(replace(make_job(folder, 1), max_seconds=600.0))
        ends = {event.number: event.report for event in drain(executor, num_ends=2) if isinstance(event, JobEnd)}
        assert (ends[0].outcome, ends[1].outcome) == ("timeout", "finished")
        assert ends[0].message == "Its time of 2 min 00 s was up."
        executor.submit(make_job(folder, 2))
        assert drain(executor, num_ends=1)[-1].number == 2

    def test_calls_run_in_a_worker_and_raise_what_they_raise(self, executor: LocalExecutor) -> None:
        import operator

        assert executor.call(operator.add, 1, 2) == 3
        with pytest.raises(UserCodeError, match="ZeroDivisionError"):
            executor.call(operator.truediv, 1, 0)

    def test_a_worker_is_used_again_until_a_call_fails_in_it_or_a_fresh_one_is_needed(
        self, single: LocalExecutor, folder: Path
    ) -> None:
        def pid_after(job: RungJob) -> int:
            [pid] = single.pids or [0]
            single.submit(job)
            [used] = single.pids
            drain(single, num_ends=1)
            assert (used == pid) == (not job.needs_fresh_process and pid != 0)
            return used

        assert pid_after(make_job(folder, 0)) == pid_after(make_job(folder, 1, fault="out_of_memory"))
        fresh = pid_after(replace(make_job(folder, 2), needs_fresh_process=True))
        assert pid_after(make_job(folder, 3, fault="raises")) == fresh
        assert single.pids == [fresh]
        on_gpu = replace(make_job(folder, 4, fault="raises"), device=DeviceSpec(kind="cuda", index=0))
        assert pid_after(on_gpu) == fresh
        assert single.pids == []  # an error may have broken the GPU's context
        with pytest.raises(UserCodeError):
            single.call(divmod, 1, 0)
        assert single.pids == []

    def test_a_trial_goes_on_from_its_checkpoint_in_another_process(
        self, executor: LocalExecutor, folder: Path
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


def test_cores_are_divided_among_the_workers() -> None:
    assert default_slots(DeviceSpec(kind="cuda")) == 1
    assert default_slots(DeviceSpec(kind="cuda"), 8) == 8
    assert 1 <= default_slots(DeviceSpec(kind="cpu")) <= 4
    assert threads_per_slot(10_000) == 1
