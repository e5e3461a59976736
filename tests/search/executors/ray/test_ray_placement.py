"""The Ray options of jobs and calls, on made-up nodes with GPUs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from executor_conformance import make_job
from made_nodes import node_info, use_of

from probe.search.executors.ray.resources import NodeSize, SlotPlan, plan_slots

pytest.importorskip("ray")

from probe.search.executors.ray.monitor import NodeMonitor, Placement
from probe.search.executors.ray.nodes import Node
from probe.search.executors.ray.tasks import sees_storage, user_paths

GIB = 2**30
JOB = replace(make_job(Path("run"), 7), peak_bytes=10 * GIB)


def node(name: str, *, gpu_gib: int) -> Node:
    info = node_info(name, node_id=name, num_cpus=8.0, num_gpus=1.0, gpu_names=("a GPU",))
    return Node(info=info, gpu_bytes=gpu_gib * GIB, sees_storage=True)


def monitor_of(*nodes: Node, num_workers: int | None) -> tuple[NodeMonitor, SlotPlan]:
    plan = plan_slots([one.size for one in nodes], num_workers=num_workers, on_gpu=True)
    return NodeMonitor(nodes, plan, use_of([one.info for one in nodes], plan, storage="/mnt/shared")), plan


def test_jobs_share_the_smallest_gpu_that_is_there() -> None:
    monitor, plan = monitor_of(node("a", gpu_gib=48), num_workers=4)
    placement = Placement(plan, monitor)
    assert placement.shared_gpu_bytes == 48 * GIB
    assert placement.for_job(JOB)["num_gpus"] == pytest.approx(0.25, abs=1e-3)
    monitor.sizes["b"] = NodeSize(num_cpus=8.0, num_gpus=1.0)  # one that joined, with a smaller GPU
    monitor.gpu_bytes["b"] = 16 * GIB
    assert placement.for_job(JOB)["num_gpus"] == pytest.approx(0.75, abs=1e-3)
    assert placement.for_job(replace(JOB, peak_bytes=None))["num_gpus"] == 1.0
    del monitor.sizes["b"]  # lost again
    assert placement.for_job(JOB)["num_gpus"] == pytest.approx(0.25, abs=1e-3)


def test_a_prediction_waits_for_no_gpu_and_for_no_core() -> None:
    monitor, plan = monitor_of(node("a", gpu_gib=48), num_workers=4)
    options = Placement(plan, monitor).for_call_beside()
    assert (options["num_cpus"], options["num_gpus"]) == (0, 0)
    assert Placement(plan, monitor).for_call()["num_gpus"] == 1


def test_a_job_stays_away_from_the_node_that_lost_it_and_from_excluded_nodes() -> None:
    monitor, plan = monitor_of(node("a", gpu_gib=48), node("b", gpu_gib=48), num_workers=None)
    placement = Placement(plan, monitor)
    assert "label_selector" not in placement.for_job(JOB)
    placement.avoid(JOB.number, "a")
    monitor.excluded = frozenset({"z", "c"})
    assert placement.for_job(JOB)["label_selector"] == {"ray.io/node-id": "!in(a,c,z)"}
    assert placement.for_job(replace(JOB, number=8))["label_selector"] == {"ray.io/node-id": "!in(c,z)"}
    monitor.excluded = frozenset()
    del monitor.sizes["b"]  # no other is left
    assert "label_selector" not in placement.for_job(JOB)
    placement.avoid(JOB.number, None)
    assert not placement.avoids(JOB.number)


@pytest.mark.parametrize(
    ("size", "fits"), [(NodeSize(num_cpus=64.0), False), (NodeSize(num_cpus=2.0, num_gpus=1.0), True)]
)
def test_a_node_without_a_gpu_takes_no_jobs_where_they_need_one(size: NodeSize, fits: bool) -> None:
    assert plan_slots([NodeSize(num_cpus=2.0, num_gpus=1.0)], num_workers=None, on_gpu=True).fits(size) is fits


def test_a_node_with_too_few_cores_takes_no_jobs() -> None:
    plan = plan_slots([NodeSize(num_cpus=8.0), NodeSize(num_cpus=4.0)], num_workers=1, on_gpu=False)
    assert plan.cpus_per_job == 8
    assert [plan.fits(NodeSize(num_cpus=cores)) for cores in (8.0, 4.0)] == [True, False]


def test_a_node_sees_a_storage_where_the_same_file_is(tmp_path: Path) -> None:
    file = tmp_path / "seen"
    assert not sees_storage(file, "token")
    file.write_text("another's")
    assert not sees_storage(file, "token")
    file.write_text("token")
    assert sees_storage(file, "token")
    assert [path.name for path in tmp_path.iterdir()] == ["seen"]


def test_only_the_users_own_folders_travel(tmp_path: Path) -> None:
    packages = str(Path(sys.prefix) / "lib" / "site-packages")
    assert user_paths([str(tmp_path), packages, str(Path(sys.base_prefix) / "lib")]) == (str(tmp_path),)
