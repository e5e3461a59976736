"""Starts Ray clusters on this machine, and executors on them. Its fixtures are available to all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from made_nodes import use_of

from probe.search.executors.ray.cluster import connected
from probe.search.executors.ray.resources import parse_ray_address, plan_slots

if TYPE_CHECKING:
    from probe.search.executors.ray.executor import RayExecutor


_HERE = Path(__file__).parent


def cluster_environment() -> dict[str, str]:
    """Environment of drivers and nodes. Ray's workers have niceness 15 by default, and starve on a busy machine."""
    paths = os.pathsep.join((str(_HERE.parents[1]), str(_HERE)))
    return {**os.environ, "PYTHONPATH": paths, "RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"}


@contextmanager
def one_core_cluster() -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` with one node, which has one core. `add_node` adds others."""
    from ray.cluster_utils import Cluster

    with patch.dict(os.environ, cluster_environment()):  # nodes inherit it
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield cluster
    finally:
        cluster.shutdown()


def add_node(cluster: Any, **options: Any) -> Any:
    """Add a node with one core."""
    with patch.dict(os.environ, cluster_environment()):
        return cluster.add_node(num_cpus=1, **options)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of one node with one core, shared by the tests of a module. Tests remove the nodes that they add.

    Not shared by several modules: what some tests do to processes can leave its core taken, and a search then waits for it.
    """
    pytest.importorskip("ray")
    with one_core_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def head(cluster: Any) -> Iterator[Any]:
    """The same cluster, with this process connected to it."""
    with connected(parse_ray_address(cluster.address)):
        yield cluster


@contextmanager
def local_ray(folder: Path, *, num_slots: int = 2) -> Iterator[RayExecutor]:
    """An executor on a local cluster of its own; `folder` is for its checkpoints."""
    with connected(parse_ray_address(f"local:{num_slots}")), executor_here(folder) as executor:
        yield executor


@contextmanager
def executor_here(folder: Path, *, without: str | None = None) -> Iterator[RayExecutor]:
    """An executor on the cluster that this process is connected to; `folder` is for its checkpoints. To the executor, the node
    with the id `without` is one that joins later."""
    from probe.search.executors.ray.executor import RayExecutor
    from probe.search.executors.ray.nodes import probe_nodes

    nodes = [node for node in probe_nodes(folder) if node.info.node_id != without]
    plan = plan_slots([node.size for node in nodes], num_workers=None, on_gpu=False)
    use = use_of([node.info for node in nodes], plan, storage=str(folder))
    executor = RayExecutor(nodes, plan, use=use, num_threads=1)
    try:
        yield executor
    finally:
        executor.close()
