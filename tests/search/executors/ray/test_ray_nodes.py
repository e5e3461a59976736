"""Nodes of a cluster: how they describe themselves, which are admitted, and nodes that join a running search."""

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
from executor_conformance import drain, make_job
from made_nodes import node_info
from ray_clusters import add_node, executor_here

from probe.errors import DeviceError, OutputError, UsageError
from probe.search.jobs.jobs import JobEnd
from probe.search.records.cluster import ClusterUse
from probe.version import VERSION

pytest.importorskip("ray")

import ray
from ray.exceptions import WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from probe.search.executors.ray import executor as ray_executor
from probe.search.executors.ray import monitor as ray_monitor
from probe.search.executors.ray import nodes as ray_nodes
from probe.search.executors.ray.executor import RayExecutor
from probe.search.executors.ray.monitor import Options
from probe.search.executors.ray.nodes import Node, check_storage, probe_nodes
from probe.search.executors.ray.tasks import probe_node

JOIN_SECONDS = 60.0


class _Answer:
    """The answer of a node, which the patched `ray.get` returns or raises."""

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
        ({"probe_version": "0.0.9"}, r"The node node-b \(10.0.0.8\) has probe 0.0.9, this machine has " + VERSION),
        (ModuleNotFoundError("No module named 'probe'"), r"The node node-b \(10.0.0.8\) cannot run probe: No module"),
        (None, r"The node node-b \(10.0.0.8\) did not answer in time"),
        (WorkerCrashedError(), r"The node node-b \(10.0.0.8\) was lost while it was probed \(WorkerCrashedError\)"),
    ],
    ids=["another version", "no probe", "no answer", "killed"],
)
def test_a_node_that_cannot_take_part_is_named(
    said: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(asked: _Answer) -> Any:
        if isinstance(asked.value, Exception):
            raise asked.value
        answered = probe_node(str(tmp_path / "none"), "token", VERSION, None)
        return {**answered, "info": {**answered["info"], **asked.value}}

    monkeypatch.setattr("ray.get", answer)
    with pytest.raises(DeviceError, match=message):
        ray_nodes._node(_record(), None if said is None else _Answer(said))


def test_a_storage_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_nodes, "live_nodes", lambda: {"ab12": _record()})
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="The folder for checkpoints"):
        probe_nodes(tmp_path / "file" / "storage")


def test_a_node_describes_itself(tmp_path: Path) -> None:
    said = probe_node(str(tmp_path / "none"), "token", VERSION, None)
    assert said["info"]["probe_version"] == VERSION
    assert not said["sees_storage"]


def node_at(address: str, *, sees_storage: bool = True) -> Node:
    info = node_info(f"node-{address}", address=address)
    return Node(info=info, gpu_bytes=None, sees_storage=sees_storage)


def test_one_machine_needs_no_storage(tmp_path: Path) -> None:
    nodes = [node_at("10.0.0.1"), node_at("10.0.0.1")]
    check_storage(nodes, driver="10.0.0.1", storage=None, checkpoints=tmp_path)


@pytest.mark.parametrize("addresses", [("10.0.0.1", "10.0.0.2"), ("10.0.0.2",)], ids=["nodes", "driver and node"])
def test_several_machines_need_a_storage(addresses: tuple[str, ...], tmp_path: Path) -> None:
    nodes = [node_at(address) for address in addresses]
    with pytest.raises(UsageError, match=r"2 machines \(10.0.0.1, 10.0.0.2\)") as raised:
        check_storage(nodes, driver="10.0.0.1", storage=None, checkpoints=tmp_path)
    assert "--storage" in raised.value.message
    check_storage(nodes, driver="10.0.0.1", storage=tmp_path, checkpoints=tmp_path / "run")


@pytest.mark.parametrize("given", [False, True])
def test_a_node_that_does_not_see_the_folder_for_checkpoints_is_named(given: bool, tmp_path: Path) -> None:
    nodes = [node_at("10.0.0.1"), node_at("10.0.0.1", sees_storage=False)]
    with pytest.raises(OutputError, match=r"node-10.0.0.1 cannot read and write .*run"):
        check_storage(nodes, driver="10.0.0.1", storage=tmp_path if given else None, checkpoints=tmp_path / "run")


def cluster_of(executor: RayExecutor) -> ClusterUse:
    assert executor.resources.cluster is not None
    return executor.resources.cluster


def where(executor: RayExecutor, number: int) -> str | None:
    """The node that a running job is on, once it is on one."""
    deadline = time.monotonic() + JOIN_SECONDS
    while number not in executor.places():
        assert time.monotonic() < deadline
        executor.poll(0.1)
    (task,) = (task for task, job in executor._tasks.jobs() if job.number == number)
    return task.node_id


@pytest.fixture(scope="module")
def second(head: Any) -> Iterator[str]:
    """The id of a second node, which the executor takes for one that joins."""
    node = add_node(head)
    yield str(node.node_id)
    head.remove_node(node)


@pytest.fixture
def executor(second: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayExecutor]:
    monkeypatch.setattr(ray_monitor, "UPDATE_SECONDS", 0.1)
    with executor_here(tmp_path, without=second) as executor:
        yield executor


def poll_until(executor: RayExecutor, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + JOIN_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        executor.poll(0.1)
        time.sleep(0.05)


@pytest.mark.ray
def test_a_node_that_joins_says_what_it_is_and_gets_jobs(executor: RayExecutor, second: str, tmp_path: Path) -> None:
    assert executor.run(operator.add, 1, 2, on="every_machine") == [3]
    assert executor.num_slots == 1
    poll_until(executor, lambda: executor.num_slots == 2)
    assert [node.node_id for node in cluster_of(executor).nodes][1:] == [second]
    assert cluster_of(executor).refusals == ()
    assert executor.run(operator.add, 1, 2, on="every_machine") == [3, 3]
    for number in range(2):
        executor.submit(make_job(tmp_path, number, epochs_to=400))
    assert {where(executor, 0), where(executor, 1)} == {node.node_id for node in cluster_of(executor).nodes}
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
        ("version", f"has probe {VERSION}, this machine has 9.9. Install probe 9.9 there"),
        ("answer", "has another task than the first node. Every node needs the same data files"),
        ("raises", "cannot run this search: ZeroDivisionError"),
        ("blind", "cannot read and write the folder for checkpoints"),
    ],
)
def test_a_node_that_must_not_join_is_refused_and_gets_no_jobs(
    fault: str, message: str, executor: RayExecutor, second: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor.run(otherwise_next_time, tmp_path / "called", fault == "raises", on="every_machine")
    if fault == "version":
        monkeypatch.setattr(ray_nodes, "VERSION", "9.9")
    if fault == "blind":
        monkeypatch.setattr(ray_nodes, "_probe_file", lambda *asked: tmp_path / "on another machine")
    poll_until(executor, lambda: bool(cluster_of(executor).refusals))
    (told,) = cluster_of(executor).refusals
    assert told.startswith("A node that joined the cluster gets no jobs. The node ")
    assert message in told
    assert executor.num_slots == len(cluster_of(executor).nodes) == 1
    for number in range(2):
        executor.submit(make_job(tmp_path, number, epochs_to=4))
        assert where(executor, number) != second
        executor.cancel()
    assert len(cluster_of(executor).refusals) == 1


@pytest.mark.ray
def test_a_job_that_starts_on_a_node_that_is_not_admitted_starts_again_elsewhere(
    executor: RayExecutor, second: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        executor._monitor, "_updated", time.monotonic() + JOIN_SECONDS
    )  # it does not know the second node
    (first,) = (node.node_id for node in cluster_of(executor).nodes)
    executor._placement.avoid(0, second)
    executor.submit(make_job(tmp_path, 0, epochs_to=100_000))
    assert where(executor, 0) == first
    executor._start_job(make_job(tmp_path, 1, epochs_to=100_000))  # the first node is full
    poll_until(executor, lambda: executor._placement.avoids(1))
    assert set(executor.places()) == {0}
    (running,) = (task for task, job in executor._tasks.jobs() if job.number == 0)
    executor._tasks.cancel(running)
    assert where(executor, 1) == first


def node_of_this_call() -> str:
    return str(ray.get_runtime_context().get_node_id())


@pytest.mark.ray
def test_a_call_that_starts_on_a_node_that_is_not_admitted_starts_again_elsewhere(
    executor: RayExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep_long() -> None:  # pickled by value, as nodes cannot import this module
        time.sleep(600)

    starts: list[Options] = []
    make_options = executor._placement.for_call

    def counted_options() -> Options:
        starts.append(make_options())
        return starts[-1]

    monkeypatch.setattr(executor._placement, "for_call", counted_options)
    monkeypatch.setattr(
        executor._monitor, "_updated", time.monotonic() + JOIN_SECONDS
    )  # it does not know the second node
    (first,) = (node.node_id for node in cluster_of(executor).nodes)
    on_first = NodeAffinitySchedulingStrategy(first, soft=False)
    blocker = ray.remote(sleep_long).options(num_cpus=1, max_retries=0, scheduling_strategy=on_first).remote()
    ray.wait([blocker], timeout=2.0)
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(executor.run, node_of_this_call)
        deadline = time.monotonic() + JOIN_SECONDS
        while len(starts) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        ray.cancel(blocker, force=True)
        assert call.result(JOIN_SECONDS) == first


@pytest.mark.ray
def test_a_job_stays_away_from_a_node_only_while_another_may_take_it(
    executor: RayExecutor, second: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor.run(operator.add, 1, 2, on="every_machine")
    poll_until(executor, lambda: executor.num_slots == 2)
    executor.submit(make_job(tmp_path, 0, epochs_to=100_000))
    busy = where(executor, 0)
    (idle,) = {node.node_id for node in cluster_of(executor).nodes} - {busy}
    executor._placement.avoid(1, idle)
    executor.submit(make_job(tmp_path, 1, epochs_to=100_000))
    executor.poll(2.0)
    assert set(executor.places()) == {0}
    monkeypatch.setattr(ray_executor, "AVOID_SECONDS", 0.5)
    assert where(executor, 1) == idle


@pytest.mark.ray
def test_a_lost_probe_is_repeated(
    executor: RayExecutor, second: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor.run(die_once, tmp_path / "called", tmp_path / "died", on="every_machine")
    poll_until(executor, lambda: executor.num_slots == 2)
    assert (tmp_path / "died").exists()
    assert cluster_of(executor).refusals == ()


def die_once(called: Path, died: Path) -> int:
    if called.exists() and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    called.touch()
    return 1
