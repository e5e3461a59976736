"""What nodes of a cluster say of themselves: before anything is spent, and when they join a search that runs."""

from __future__ import annotations

import operator
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from executor_conformance import drain
from executor_jobs import make_job
from ray_clusters import executor_here, one_core_cluster

from probe.errors import DeviceError, OutputError
from probe.search.executors.ray.on_node import probe_node
from probe.search.jobs.jobs import JobEnd
from probe.version import VERSION

pytest.importorskip("ray")

import ray
from ray.exceptions import WorkerCrashedError

from probe.search.executors.ray import executor as ray_executor
from probe.search.executors.ray import monitor as ray_watch
from probe.search.executors.ray import nodes as ray_census
from probe.search.executors.ray.cluster import connected
from probe.search.executors.ray.executor import RayExecutor
from probe.search.executors.ray.nodes import probe_nodes
from probe.search.executors.ray.resources import parse_ray_address

JOIN_SECONDS = 60.0


class _Answer:
    """What `ray.get` is made to give for a node that says this of itself."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _record(name: str = "node-b") -> dict[str, Any]:
    return {
        "NodeID": "ab12",
        "NodeManagerHostname": name,
        "NodeManagerAddress": "10.0.0.8",
        "Resources": {"CPU": 4.0},
        "Alive": True,
    }


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"probe_version": "0.0.9"}, r"The node node-b \(10.0.0.8\) has probe 0.0.9, and this is " + VERSION),
        (ModuleNotFoundError("No module named 'probe'"), r"The node node-b \(10.0.0.8\) cannot run probe: No module"),
        (None, r"The node node-b \(10.0.0.8\) did not answer in time"),
        (WorkerCrashedError(), r"The node node-b \(10.0.0.8\) was lost while it was looked at \(WorkerCrashedError\)"),
    ],
    ids=["another version", "no probe", "no answer", "killed"],
)
def test_a_node_that_cannot_take_part_is_named(
    said: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(asked: _Answer) -> Any:
        if isinstance(asked.value, Exception):
            raise asked.value
        facts = probe_node(str(tmp_path / "none"), "token", VERSION, None)
        return {**facts, "facts": {**facts["facts"], **asked.value}}

    monkeypatch.setattr("ray.get", answer)
    with pytest.raises(DeviceError, match=message):
        ray_census._node(_record(), None if said is None else _Answer(said))


def test_a_storage_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_census, "live_nodes", lambda: {"ab12": _record()})
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="The folder for checkpoints"):
        probe_nodes(tmp_path / "file" / "storage")


def test_a_node_says_what_it_is(tmp_path: Path) -> None:
    said = probe_node(str(tmp_path / "none"), "token", VERSION, None)
    assert said["facts"]["probe_version"] == VERSION
    assert not said["sees_storage"]


@pytest.fixture(scope="module")
def head() -> Iterator[Any]:
    """A cluster of one node, with a core."""
    with pytest.MonkeyPatch.context() as patched, one_core_cluster() as cluster:
        patched.setattr(ray_watch, "LOOK_SECONDS", 0.1)
        with connected(parse_ray_address(cluster.address)):
            yield cluster


def where(executor: RayExecutor, number: int) -> str | None:
    """The node that a running job is on, once it is on one."""
    deadline = time.monotonic() + JOIN_SECONDS
    while number not in executor.places():
        assert time.monotonic() < deadline
        executor.poll(0.1)
    (task,) = (task for task, job in executor._tasks.of_jobs() if job.number == number)
    return task.node_id


Join = Callable[[Callable[[], bool]], str]


@pytest.fixture
def executor(head: Any, tmp_path: Path) -> Iterator[RayExecutor]:
    executor = executor_here(tmp_path)
    yield executor
    executor.close()


@pytest.fixture
def join(head: Any, executor: RayExecutor) -> Iterator[Join]:
    """Adds a node of one core, for this test, and waits until the executor knows what to do with it. Its id."""
    nodes: list[Any] = []

    def add(knows: Callable[[], bool]) -> str:
        nodes.append(head.add_node(num_cpus=1))
        deadline = time.monotonic() + JOIN_SECONDS
        while not knows():
            assert time.monotonic() < deadline
            executor.poll(0.1)
            time.sleep(0.05)
        return str(nodes[-1].node_id)

    yield add
    for node in nodes:
        head.remove_node(node)


@pytest.mark.ray
def test_a_node_that_joins_says_what_it_is_and_gets_jobs(executor: RayExecutor, join: Join, tmp_path: Path) -> None:
    assert executor.call_everywhere(operator.add, 1, 2) == [3]
    assert executor.num_slots == 1
    joined = join(lambda: executor.num_slots == 2)
    assert [node.node_id for node in executor.cluster.nodes][1:] == [joined]
    assert executor.cluster.refusals == ()
    assert executor.call_everywhere(operator.add, 1, 2) == [3, 3]
    for number in range(2):
        executor.submit(make_job(tmp_path, number, epochs_to=400))
    assert {where(executor, 0), where(executor, 1)} == {node.node_id for node in executor.cluster.nodes}
    executor.cancel()
    for number in range(2):
        executor.submit(make_job(tmp_path, number))
    ends = [event.report for event in drain(executor, num_ends=2) if isinstance(event, JobEnd)]
    assert [end.outcome for end in ends] == ["finished", "finished"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def otherwise_next_time(file: Path, raises: bool) -> int:
    if not file.exists():
        file.touch()
        return 1
    return 1 // 0 if raises else 2


@pytest.mark.ray
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("version", f"has probe {VERSION}, and this is 9.9. Install probe 9.9 there"),
        ("answer", "sees another task than the others. Every node needs the same data files"),
        ("raises", "cannot run this search: ZeroDivisionError"),
        ("blind", "does not see the storage"),
    ],
)
def test_a_node_that_must_not_join_is_refused_and_gets_no_jobs(
    fault: str, message: str, executor: RayExecutor, join: Join, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor.call_everywhere(otherwise_next_time, tmp_path / "called", fault == "raises")
    if fault == "version":
        monkeypatch.setattr(ray_census, "VERSION", "9.9")
    if fault == "blind":
        monkeypatch.setattr(ray_census, "_probe_file", lambda *asked: tmp_path / "on another machine")
    refused = join(lambda: bool(executor.cluster.refusals))
    (told,) = executor.cluster.refusals
    assert told.startswith("A node that joined the cluster gets no jobs. The node ")
    assert message in told
    assert executor.num_slots == len(executor.cluster.nodes) == 1
    for number in range(4):
        executor.submit(make_job(tmp_path, number, epochs_to=4))
        assert where(executor, number) != refused
        executor.cancel()
    assert len(executor.cluster.refusals) == 1


@pytest.mark.ray
def test_a_job_that_begins_on_a_node_that_was_not_let_in_begins_again_elsewhere(
    head: Any, executor: RayExecutor, join: Join, tmp_path: Path
) -> None:
    executor.submit(make_job(tmp_path, 0, epochs_to=100_000))
    (here,) = (node.node_id for node in executor.cluster.nodes)
    assert where(executor, 0) == here
    executor._start_job(make_job(tmp_path, 1, epochs_to=100_000))  # the head is full: it waits inside Ray
    joined = join(lambda: executor._placement.avoids(1))  # nobody has been asked for a first call: it is not let in
    assert set(executor.places()) == {0}
    (first,) = (task for task, job in executor._tasks.of_jobs() if job.number == 0)
    executor._tasks.end(first)
    assert where(executor, 1) == here != joined


def sleep_long() -> None:
    time.sleep(600)


def node_of_this_call() -> str:
    return str(ray.get_runtime_context().get_node_id())


@pytest.mark.ray
def test_a_call_that_begins_on_a_node_that_was_not_let_in_begins_again_elsewhere(
    head: Any, executor: RayExecutor
) -> None:
    (here,) = (node.node_id for node in executor.cluster.nodes)
    blocker = ray.remote(sleep_long).options(num_cpus=1, max_retries=0).remote()
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(executor.call, node_of_this_call)  # the head is full: it waits inside Ray
        node = head.add_node(num_cpus=1)  # nobody has been asked for a first call: it is not let in
        time.sleep(JOIN_SECONDS / 10)  # for the call to begin there
        ray.cancel(blocker, force=True)
        where_it_ran = call.result(JOIN_SECONDS)
    head.remove_node(node)
    assert where_it_ran == here


@pytest.mark.ray
def test_a_job_stays_away_from_a_node_only_while_another_may_take_it(
    executor: RayExecutor, join: Join, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor.call_everywhere(operator.add, 1, 2)
    join(lambda: executor.num_slots == 2)
    executor.submit(make_job(tmp_path, 0, epochs_to=100_000))
    busy = where(executor, 0)
    (idle,) = {node.node_id for node in executor.cluster.nodes} - {busy}
    executor._placement.avoid(1, idle)
    executor.submit(make_job(tmp_path, 1, epochs_to=100_000))
    executor.poll(2.0)
    assert set(executor.places()) == {0}
    monkeypatch.setattr(ray_executor, "AVOID_SECONDS", 0.5)
    assert where(executor, 1) == idle


@pytest.mark.ray
def test_a_look_that_was_lost_is_taken_again(
    executor: RayExecutor, join: Join, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor.call_everywhere(die_once, tmp_path / "called", tmp_path / "died")
    join(lambda: executor.num_slots == 2)
    assert (tmp_path / "died").exists()
    assert executor.cluster.refusals == ()


def die_once(called: Path, died: Path) -> int:
    if called.exists() and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    called.touch()
    return 1
