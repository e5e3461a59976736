"""Local workers of several GPUs: real processes, with made-up names of GPUs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from executor_conformance import SearchExecutorConformance, drain, make_job
from made_recipes import blobs_recipe
from pinned_task import open_gpu

import probe.search.backends
from probe.device.select import VISIBLE_DEVICES, DeviceSpec
from probe.errors import DeviceError, UserCodeError
from probe.search.executors.local import LocalExecutor
from probe.search.find import find_hyperparameters
from probe.search.jobs.jobs import JobEnd
from probe.search.records.search import SearchProgress
from probe.search.session import SearchRequest, open_session
from probe.tasks.source import TargetSource

GPUS = ("GPU-8f2c", "MIG-41c1")


@pytest.fixture(scope="module")
def pinned() -> Iterator[LocalExecutor]:
    with LocalExecutor(2, num_threads=1, gpus=GPUS) as executor:
        yield executor


class TestPinnedExecutor(SearchExecutorConformance):
    num_gpus = 2

    @pytest.fixture
    def executor(self, pinned: LocalExecutor) -> LocalExecutor:
        return pinned

    def test_every_worker_sees_its_own_gpu_alone(self, executor: LocalExecutor) -> None:
        assert executor.run(os.getenv, VISIBLE_DEVICES, on="every_gpu") == list(GPUS)

    def test_a_job_runs_where_it_is_sent_also_after_a_workers_death(
        self, executor: LocalExecutor, folder: Path
    ) -> None:
        def seen(number: int, gpu: int) -> str:
            job = make_job(folder, number)
            executor.submit(replace(job, source=TargetSource(target="pinned_task:failing_task"), params={}, gpu=gpu))
            end = drain(executor, num_ends=1)[-1]
            assert isinstance(end, JobEnd)
            return (end.report.message or "").strip().rpartition(" ")[2]

        assert [seen(number, gpu) for number, gpu in enumerate((1, 0, 1))] == [GPUS[1], GPUS[0], GPUS[1]]
        executor.submit(replace(make_job(folder, 3, fault="dies"), gpu=1))
        drain(executor, num_ends=1)
        assert seen(4, 1) == GPUS[1]

    def test_places_name_the_gpu_and_a_full_one_refuses(self, executor: LocalExecutor, folder: Path) -> None:
        executor.submit(replace(make_job(folder, 7, epochs_to=2000), gpu=1))
        assert executor.places() == {7: "cuda:1"}
        with pytest.raises(RuntimeError, match="slots of cuda:1 are taken"):
            executor.submit(replace(make_job(folder, 8), gpu=1))
        executor.submit(make_job(folder, 9, epochs_to=2000))
        assert executor.places() == {7: "cuda:1", 9: "cuda:0"}
        executor.cancel()

    def test_an_error_of_the_device_says_which_gpu_it_is(self, executor: LocalExecutor) -> None:
        assert executor.run(open_gpu, "none", on="every_gpu") == list(GPUS)
        with pytest.raises(
            DeviceError, match=r"sees only GPU MIG-41c1: cuda:0 is there but cannot be used\."
        ) as raised:
            executor.run(open_gpu, GPUS[1], on="every_gpu")
        assert raised.value.hint == "nvidia-smi"

    def test_after_an_error_on_one_gpu_the_next_answers_are_the_right_ones(self, executor: LocalExecutor) -> None:
        with pytest.raises(UserCodeError, match="ValueError"):
            executor.run(int, "x", on="every_gpu")
        assert executor.run(os.getenv, VISIBLE_DEVICES, on="every_gpu") == list(GPUS)
        assert executor.resources.idle_by_gpu == (1, 1)


def test_slots_are_spread_and_one_slot_is_not_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LocalExecutor(5, gpus=GPUS).resources.slots_by_gpu == (3, 2)
    assert LocalExecutor(2, gpus=("0", "1", "2")).resources.slots_by_gpu == (1, 1)
    assert LocalExecutor(3).resources.slots_by_gpu == (3,)
    monkeypatch.setenv(VISIBLE_DEVICES, "5,6")
    with LocalExecutor(1, gpus=("5", "6")) as alone:
        assert alone.run(os.getenv, VISIBLE_DEVICES, on="every_gpu") == ["5,6"]


@pytest.mark.parametrize(
    ("asked", "num_workers"), [({}, 3), ({"num_workers": 5}, 5), ({"num_workers": 1}, 1), ({"deterministic": True}, 1)]
)
def test_a_search_has_one_worker_per_gpu_by_default(asked: dict[str, Any], num_workers: int) -> None:
    device = DeviceSpec(kind="cuda", index=0, resolved=True)
    request = SearchRequest(recipe=blobs_recipe(), device=device, data_dir=Path("data"), num_gpus=3, **asked)
    with open_session(request) as session:
        assert session.start.num_workers == num_workers


def test_a_search_on_two_gpus_names_the_gpu_of_each_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe.search.backends, "visible_gpus", lambda asked, found: GPUS)
    seen: list[Any] = []
    result = find_hyperparameters(blobs_recipe(budget={"trials": 4}), observer=seen.append, device="cpu", num_workers=2)
    running = [trial for record in seen if isinstance(record, SearchProgress) for trial in record.running]
    assert {trial.place for trial in running} == {"cuda:0", "cuda:1"}
    assert result.meta.device == "2 × CPU"
    assert len(result.trials) == 4
