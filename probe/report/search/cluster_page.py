"""The workers of a search and the cluster it ran on: sentences and the section of the report."""

from __future__ import annotations

from collections import Counter

from probe.report.shared.markdown import code, escape, table
from probe.report.shared.wording import plural
from probe.search.records.cluster import ClusterUse, NodeInfo, SlotUse
from probe.search.records.search import SearchResult
from probe.units import format_count, format_percent

ID_LENGTH = 8
"""Characters of a node's id that distinguish nodes with the same name."""


def use_text(use: SlotUse) -> str | None:
    """`2 nodes, 8 slots, 97 % utilization, 1 retry`; None if there was only one slot and no retry."""
    if use.num_slots == 1 and use.num_nodes is None and not use.num_retries:
        return None
    parts = [] if use.num_nodes is None else [plural(use.num_nodes, "node")]
    parts.append(plural(use.num_slots, "slot"))
    if use.utilization is not None:
        parts.append(f"{format_percent(use.utilization, decimals=0)} utilization")
    if use.num_retries:
        parts.append(plural(use.num_retries, "retry", "retries"))
    return ", ".join(parts)


def slots_line(result: SearchResult) -> str | None:
    """How well the workers of one machine were used; None on a cluster, which has a section of its own."""
    use = result.slots
    return None if use is None or result.cluster is not None or use_text(use) is None else _use_sentence(use)


def cluster_blocks(result: SearchResult) -> list[str]:
    """The section on the cluster; empty if the search ran on one machine."""
    cluster, use = result.cluster, result.slots
    if cluster is None:
        return []
    where = f"The search ran on the Ray cluster {code(cluster.address)}:"
    if result.num_resumes:
        sessions = format_count(1 + result.num_resumes)
        where = f"The last of {sessions} sessions of the search ran on the Ray cluster {code(cluster.address)}:"
    sentences = [] if use is None else [_use_sentence(use, joined=bool(cluster.joined_nodes))]
    num_gpus = cluster.gpus_per_job or 0
    gpus = plural(num_gpus, "GPU") if num_gpus >= 1 else f"{num_gpus:.2g} of a GPU"
    each = plural(cluster.cpus_per_job, "CPU") + (f" and {gpus}" if num_gpus else "")
    stored = "sent through Ray's object store"
    if cluster.storage is not None:
        stored = f"stored in {code(cluster.storage)}, a folder that all nodes share"
    sentences += [f"Each job had {each}.", f"Checkpoints were {stored}."]
    return ["## Cluster", where, _nodes_table(cluster), " ".join(sentences)]


def _nodes_table(cluster: ClusterUse) -> str:
    header = ["node", "CPUs", "GPUs", "PyTorch", "CUDA", "driver", "Python"]
    shared = Counter(node.name for node in cluster.nodes)
    rows = [_node_row(cluster, node, shared[node.name] > 1) for node in cluster.nodes]
    if cluster.lost_nodes or cluster.joined_nodes:
        header.append("in this search")
        rows = [[*row, _presence(cluster, node)] for row, node in zip(rows, cluster.nodes, strict=True)]
    return table(header, rows, right=(1,))


def _presence(cluster: ClusterUse, node: NodeInfo) -> str:
    parts = ["joined"] * (node.node_id in cluster.joined_nodes) + ["lost"] * cluster.is_lost(node)
    return ", ".join(parts) or "all the time"


def _node_row(cluster: ClusterUse, node: NodeInfo, is_ambiguous: bool) -> list[str]:
    name = f"{node.name} ({node.node_id[:ID_LENGTH]})" if is_ambiguous else node.name
    versions = (node.torch_version, node.cuda_version, node.driver_version, node.python_version)
    cells = [escape(version or "not used") for version in versions]
    return [escape(name), format_count(node.num_cpus), _gpus_cell(node), *cells]


def _gpus_cell(node: NodeInfo) -> str:
    """`2 × NVIDIA H200`, each model once; only the number if their names are not known."""
    if not node.num_gpus:
        return "none"
    models = Counter(node.gpu_names)
    if sum(models.values()) != node.num_gpus:
        return escape(" ".join([format_count(node.num_gpus), *([f"({', '.join(models)})"] if models else [])]))
    return escape(", ".join(f"{number} × {name}" for name, number in models.items()))


def _use_sentence(use: SlotUse, *, joined: bool = False) -> str:
    used = "" if use.utilization is None else f" with {format_percent(use.utilization, decimals=0)} utilization"
    rungs = {0: "no rung was", 1: "1 rung was"}.get(use.num_retries, f"{format_count(use.num_retries)} rungs were")
    slots = plural(use.num_slots, "slot")
    return f"Trials {'started' if joined else 'ran'} on {slots}{used}; {rungs} run again because a worker died."
