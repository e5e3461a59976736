"""A real Ray cluster on this machine, and an executor on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from made_nodes import use_of

from probe.search.ray_cluster import connected
from probe.search.ray_terms import parse_ray_address, plan_slots

if TYPE_CHECKING:
    from probe.search.ray_executor import RayExecutor


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
    from probe.search.ray_census import look_at_nodes
    from probe.search.ray_executor import RayExecutor

    nodes = look_at_nodes(folder)
    plan = plan_slots([node.size for node in nodes], num_workers=None, on_gpu=False)
    use = use_of([node.facts for node in nodes], plan, storage=None if carried else str(folder))
    return RayExecutor(nodes, plan, use=use, num_threads=1)
