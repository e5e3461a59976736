"""Jobs on a real Ray cluster of this machine: what every executor promises, and what only nodes can do."""

from __future__ import annotations

import operator
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from decision_conformance import DecisionConformance
from executor_conformance import ExecutorConformance, MakeJob, drain
from executor_jobs import make_job

from probe.errors import TaskError, UserCodeError
from probe.search.jobs.jobs import JobEnd, JobEpoch, JobEvent, RungJob
from probe.version import VERSION

pytest.importorskip("ray")

from ray_clusters import executor_here, local_ray

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
def ray_executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayExecutor]:
    with local_ray(tmp_path_factory.mktemp("storage")) as executor:
        yield executor


class TestRayExecutor(ExecutorConformance, DecisionConformance):
    @pytest.fixture
    def executor(self, ray_executor: RayExecutor) -> Iterator[RayExecutor]:
        yield ray_executor
        ray_executor.cancel()

    @pytest.fixture
    def single(self, executor: RayExecutor, monkeypatch: pytest.MonkeyPatch) -> RayExecutor:
        monkeypatch.setattr(executor._watch, "num_slots", 1)
        monkeypatch.setattr(executor._watch, "_plan", replace(executor._watch._plan, num_slots=1, num_workers=1))
        return executor

    @pytest.fixture
    def job(self, folder: Path) -> MakeJob:
        return lambda number, **options: make_job(folder, number, **options)

    def test_a_user_bug_comes_with_their_traceback(self, executor: RayExecutor, folder: Path) -> None:
        executor.submit(make_job(folder, 0, fault="raises"))
        end = drain(executor, num_ends=1)[-1]
        assert isinstance(end, JobEnd)
        assert "a bug of the user's own" in (end.report.message or "")
        assert "searched_task.py" in (end.report.message or "")

    def test_a_job_whose_time_is_up_is_ended_and_its_slot_is_free(self, executor: RayExecutor, folder: Path) -> None:
        executor.submit(replace(make_job(folder, 0, fault="hangs"), max_seconds=0.2, trial_seconds=120.0))
        executor.submit(replace(make_job(folder, 1), max_seconds=600.0))
        ends = {event.number: event.report for event in drain(executor, num_ends=2) if isinstance(event, JobEnd)}
        assert (ends[0].outcome, ends[1].outcome) == ("timeout", "finished")
        assert ends[0].message == "Its time of 2 min 00 s was up."

    def test_calls_run_on_a_node_and_raise_what_they_raise(self, executor: RayExecutor) -> None:
        assert executor.call(operator.add, 1, 2) == 3
        assert executor.call_everywhere(operator.add, 1, 2) == [3]
        assert executor.call_beside(operator.add, 1, 2) == 3
        with pytest.raises(UserCodeError, match="ZeroDivisionError"):
            executor.call(operator.truediv, 1, 0)

    def test_what_cannot_be_sent_is_a_task_error(self, executor: RayExecutor) -> None:
        with pytest.raises(TaskError, match="add and its arguments cannot be sent to a node: TypeError"):
            executor.call(operator.add, threading.Lock(), 1)

    def test_a_running_job_has_a_place(self, executor: RayExecutor, folder: Path) -> None:
        executor.submit(make_job(folder, 5, epochs_to=2000))
        while not executor.poll(0.5):
            pass
        assert executor.places() == {5: executor.cluster.nodes[0].name}
        executor.cancel()
        assert executor.places() == {}

    def test_a_job_that_reaches_another_version_is_lost_not_run(
        self, executor: RayExecutor, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(executor._tasks, "_terms", replace(executor._terms, version="9.9"))
        executor.submit(make_job(folder, 0))
        (end,) = drain(executor, num_ends=1)  # and no epoch before it
        assert isinstance(end, JobEnd)
        assert end.report.outcome == "crashed"
        assert f"was lost: the node has probe {VERSION}, and this is" in (end.report.message or "")

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

        terms = replace(executor._terms, prepare=WhereItIsRead(die_or_go_on))
        monkeypatch.setattr(executor._tasks, "_terms", terms)
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

        monkeypatch.setattr(executor._tasks, "_terms", replace(executor._terms, prepare=WhereItIsRead(import_it)))
        executor.submit(make_job(folder, 0))
        end = drain(executor, num_ends=1)[-1]
        assert isinstance(end, JobEnd)
        assert end.report.outcome == "crashed"
        assert (end.report.message or "").endswith("was lost: ModuleNotFoundError: No module named 'left_out'")

    @pytest.mark.parametrize("carried", [False, True], ids=["one folder", "through the object store"])
    def test_a_trial_goes_on_from_its_checkpoint(self, executor: RayExecutor, folder: Path, carried: bool) -> None:
        here = executor_here(folder, carried=carried)

        def reports(job: RungJob) -> list[tuple[int, float, float | None]]:
            here.submit(job)
            events: list[JobEvent] = drain(here, num_ends=1)
            found = [event.report for event in events if isinstance(event, JobEpoch)]
            return [(report.epoch, report.train_loss, report.val_loss) for report in found]

        whole = reports(make_job(folder, 0, epochs_to=4))
        assert reports(make_job(folder, 0, epochs_to=1)) == whole[:1]
        assert (folder / "0-1.pt").is_file()
        assert reports(make_job(folder, 0, epochs_from=1, epochs_to=4)) == whole[1:]

    def test_a_checkpoint_that_is_gone_costs_time_not_the_trial(self, executor: RayExecutor, folder: Path) -> None:
        here = executor_here(folder, carried=True)
        here.submit(make_job(folder, 0, epochs_from=1, epochs_to=2))
        end = drain(here, num_ends=1)[-1]
        assert isinstance(end, JobEnd)
        assert end.report.outcome == "finished"
        assert "is gone. Epochs 1 to 1 were trained again." in (end.report.message or "")
