from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from decision_conformance import DecisionConformance
from executor_conformance import ExecutorConformance, SearchExecutorConformance, drain, make_job
from scripted_executor import ScriptedExecutor

from probe.device.select import DeviceSpec
from probe.errors import UserCodeError
from probe.search.executors.local import LocalExecutor
from probe.search.executors.slots import default_slots, threads_per_slot
from probe.search.jobs.jobs import Outcome, RungJob

OUTCOMES: dict[str, Outcome] = {
    "raises": "failed",
    "killed": "host_oom",
    "dies": "crashed",
    "exits": "crashed",
    "diverges": "diverged",
    "out_of_memory": "oom",
}


class TestScriptedExecutor(ExecutorConformance, DecisionConformance):
    @pytest.fixture
    def single(self) -> ScriptedExecutor:
        return ScriptedExecutor()

    @pytest.fixture
    def executor(self) -> ScriptedExecutor:
        return ScriptedExecutor(num_slots=2, fault=lambda job, epoch, _: OUTCOMES.get(str(job.params["fault"])))


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


class TestLocalExecutor(SearchExecutorConformance, DecisionConformance):
    @pytest.fixture
    def single(self) -> Iterator[LocalExecutor]:
        with LocalExecutor(1, num_threads=1) as executor:
            yield executor

    @pytest.fixture
    def executor(self, local_executor: LocalExecutor) -> LocalExecutor:
        return local_executor

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
            single.run(divmod, 1, 0)
        assert single.pids == []


def test_cores_are_divided_among_the_workers() -> None:
    assert default_slots(DeviceSpec(kind="cuda")) == 1
    assert default_slots(DeviceSpec(kind="cuda"), 8) == 8
    assert 1 <= default_slots(DeviceSpec(kind="cpu")) <= 4
    assert threads_per_slot(10_000) == 1
