"""Records of cluster nodes, for tests without a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from probe.search.executors.ray.resources import SlotPlan
from probe.search.records.cluster import ClusterUse, NodeInfo

_INFO = NodeInfo(
    name="node",
    address="192.0.2.1",
    node_id="node-id",
    num_cpus=4.0,
    num_gpus=0.0,
    gpu_names=(),
    probe_version="0.1.0",
    python_version="3.11.9",
    torch_version="2.15.0",
    cuda_version=None,
    driver_version=None,
    platform="Linux",
)


def node_info(name: str, **changes: Any) -> NodeInfo:
    return replace(_INFO, **{"name": name, "node_id": f"{name}-id", **changes})


def use_of(nodes: Sequence[NodeInfo], plan: SlotPlan, *, storage: str) -> ClusterUse:
    return ClusterUse(
        address="local",
        nodes=tuple(nodes),
        num_slots=plan.num_slots,
        cpus_per_job=plan.cpus_per_job,
        gpus_per_job=None,
        storage=storage,
    )
