"""Real Ray clusters on this machine, and executors on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from made_nodes import use_of

from probe.search.executors.ray.cluster import connected
from probe.search.executors.ray.resources import parse_ray_address, plan_slots

if TYPE_CHECKING:
    from probe.search.executors.ray.executor import RayExecutor


_HERE = Path(__file__).parent


def cluster_environment() -> dict[str, str]:
    """Of drivers and nodes. Ray's workers are at niceness 15 by themselves, where a busy machine starves them."""
    paths = os.pathsep.join((str(_HERE.parents[1]), str(_HERE)))
    return {**os.environ, "PYTHONPATH": paths, "RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"}


@contextmanager
def one_core_cluster() -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of a head with one core; nodes can be added, and lost."""
    from ray.cluster_utils import Cluster

    with patch.dict(os.environ, cluster_environment()):  # nodes take theirs from here
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        try:
            yield cluster
        finally:
            cluster.shutdown()


@contextmanager
def local_ray(folder: Path, *, num_slots: int = 2, carried: bool = False) -> Iterator[RayExecutor]:
    """`carried`: as if nodes did not see the folder of checkpoints."""
    with connected(parse_ray_address(f"local:{num_slots}")):
        executor = executor_here(folder, carried=carried)
        try:
            yield executor
        finally:
            executor.close()


def executor_here(folder: Path, *, carried: bool = False) -> RayExecutor:
    """On the cluster that this process is connected to."""
    from probe.search.executors.ray.executor import RayExecutor
    from probe.search.executors.ray.nodes import probe_nodes

    nodes = probe_nodes(folder)
    plan = plan_slots([node.size for node in nodes], num_workers=None, on_gpu=False)
    use = use_of([node.facts for node in nodes], plan, storage=None if carried else str(folder))
    return RayExecutor(nodes, plan, use=use, num_threads=1)
