"""The Ray executor on a real cluster of this machine: the conformance suites, and what only nodes can do."""

from __future__ import annotations

import operator
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from decision_conformance import DecisionConformance
from executor_conformance import SearchExecutorConformance, drain, make_job

from probe.errors import TaskError
from probe.search.jobs.jobs import JobEnd
from probe.version import VERSION

pytest.importorskip("ray")

from ray_clusters import add_node, executor_here

from probe.search.executors.ray.executor import MAX_STARTS, RayExecutor

pytestmark = pytest.mark.ray


class WhereItIsRead:
    """Unpickling it is that call."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def __call__(self) -> None: ...

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call, ()


@pytest.fixture(scope="module")
def ray_executor(head: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayExecutor]:
    node = add_node(head)
    with executor_here(tmp_path_factory.mktemp("storage")) as executor:
        yield executor
    head.remove_node(node)


class TestRayExecutor(SearchExecutorConformance, DecisionConformance):
    num_machines = 2
    tells_signals = False

    @pytest.fixture
    def executor(self, ray_executor: RayExecutor) -> Iterator[RayExecutor]:
        yield ray_executor
        ray_executor.cancel()

    @pytest.fixture
    def single(self, executor: RayExecutor, monkeypatch: pytest.MonkeyPatch) -> RayExecutor:
        monkeypatch.setattr(executor._monitor, "num_slots", 1)
        monkeypatch.setattr(executor._monitor, "_plan", replace(executor._monitor._plan, num_slots=1, num_workers=1))
        return executor

    def test_what_cannot_be_sent_is_a_task_error(self, executor: RayExecutor) -> None:
        with pytest.raises(TaskError, match="add and its arguments cannot be sent to a node: TypeError"):
            executor.run(operator.add, threading.Lock(), 1)

    def test_a_running_job_has_a_place(self, executor: RayExecutor, folder: Path) -> None:
        executor.submit(make_job(folder, 5, epochs_to=2000))
        while not executor.poll(0.5):
            pass
        [(number, place)] = executor.places().items()
        assert number == 5
        assert place.startswith(socket.gethostname())
        executor.cancel()
        assert executor.places() == {}

    def test_a_job_that_reaches_another_version_is_lost_not_run(
        self, executor: RayExecutor, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(executor._tasks, "_call_options", replace(executor._call_options, version="9.9"))
        executor.submit(make_job(folder, 0))
        (end,) = drain(executor, num_ends=1)  # and no epoch before it
        assert isinstance(end, JobEnd)
        assert end.report.outcome == "crashed"
        assert f"was lost: the node has probe {VERSION}, this machine has" in (end.report.message or "")

    @pytest.mark.parametrize(("deaths", "outcome"), [(MAX_STARTS - 1, "finished"), (MAX_STARTS, "crashed")])
    def test_a_job_whose_process_dies_before_it_begins_is_begun_again(
        self, executor: RayExecutor, folder: Path, monkeypatch: pytest.MonkeyPatch, deaths: int, outcome: str
    ) -> None:
        for number in range(deaths):
            (folder / f"death-{number}").touch()

        def die_or_go_on() -> None:
            for death in folder.glob("death-*"):
                death.unlink()
                os.kill(os.getpid(), signal.SIGKILL)

        options = replace(executor._call_options, prepare=WhereItIsRead(die_or_go_on))
        monkeypatch.setattr(executor._tasks, "_call_options", options)
        executor.submit(make_job(folder, 0))
        end = drain(executor, num_ends=1)[-1]
        assert isinstance(end, JobEnd)
        assert end.report.outcome == outcome, end.report.message
        assert list(folder.glob("death-*")) == []

    def test_why_a_node_cannot_read_a_job_is_said(
        self, executor: RayExecutor, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def import_it() -> None:
            raise ModuleNotFoundError("No module named 'left_out'")

        monkeypatch.setattr(
            executor._tasks, "_call_options", replace(executor._call_options, prepare=WhereItIsRead(import_it))
        )
        executor.submit(make_job(folder, 0))
        end = drain(executor, num_ends=1)[-1]
        assert isinstance(end, JobEnd)
        assert end.report.outcome == "crashed"
        assert (end.report.message or "").endswith("was lost: ModuleNotFoundError: No module named 'left_out'")

    def test_a_checkpoint_that_is_gone_costs_time_not_the_trial(self, executor: RayExecutor, folder: Path) -> None:
        executor.submit(make_job(folder, 0, epochs_from=1, epochs_to=2))
        end = drain(executor, num_ends=1)[-1]
        assert isinstance(end, JobEnd)
        assert end.report.outcome == "finished"
        assert "Epochs 1 to 1" in (end.report.message or "")
