"""Where a search ran: the nodes of its cluster and how well its slots were used, in words and as a table."""

from __future__ import annotations

from collections import Counter

from probe.report.shared.markdown import code, escape, table
from probe.search.records.cluster import ClusterUse, NodeInfo, SlotUse
from probe.search.records.search import SearchResult
from probe.units import format_count, format_percent

ID_LENGTH = 8
"""Of a node's id, where its name alone does not tell it from others."""


def use_text(use: SlotUse) -> str | None:
    """`2 nodes, 8 slots, 97 % utilization, 1 retry`; None where one slot did all without a mishap."""
    if use.num_slots == 1 and use.num_nodes is None and not use.num_retries:
        return None
    told = [] if use.num_nodes is None else [_number(use.num_nodes, "node")]
    told.append(_number(use.num_slots, "slot"))
    if use.utilization is not None:
        told.append(f"{format_percent(use.utilization, decimals=0)} utilization")
    if use.num_retries:
        told.append(_number(use.num_retries, "retry", "retries"))
    return ", ".join(told)


def slots_line(result: SearchResult) -> str | None:
    """How well the workers of one machine were used, for the section on what it cost; None on a cluster, which has its own."""
    use = result.slots
    return None if use is None or result.cluster is not None or use_text(use) is None else _use_sentence(use)


def cluster_blocks(result: SearchResult) -> list[str]:
    """The section on the cluster; nothing where there was none."""
    cluster, use = result.cluster, result.slots
    if cluster is None:
        return []
    where = f"n the Ray cluster {code(cluster.address)}"
    if result.num_resumes:
        where = f"The last of its {format_count(1 + result.num_resumes)} sessions ran o{where}:"
    else:
        where = f"O{where}:"
    told = [] if use is None else [_use_sentence(use, joined=bool(cluster.joined_nodes))]
    told += [_job_sentence(cluster), f"Checkpoints lay in {code(cluster.storage)}, which all nodes see."]
    return ["## Where it ran", where, _nodes_table(cluster), " ".join(told)]


def _nodes_table(cluster: ClusterUse) -> str:
    header = ["node", "CPUs", "GPUs", "PyTorch", "CUDA", "driver", "Python"]
    shared = Counter(node.name for node in cluster.nodes)
    rows = [_node_row(cluster, node, shared[node.name] > 1) for node in cluster.nodes]
    if cluster.lost_nodes or cluster.joined_nodes:
        header.append("in this search")
        rows = [[*row, _stay(cluster, node)] for row, node in zip(rows, cluster.nodes, strict=True)]
    return table(header, rows, right=(1,))


def _stay(cluster: ClusterUse, node: NodeInfo) -> str:
    parts = ["joined"] * (node.node_id in cluster.joined_nodes) + ["lost"] * cluster.is_lost(node)
    return ", ".join(parts) or "there"


def _node_row(cluster: ClusterUse, node: NodeInfo, is_ambiguous: bool) -> list[str]:
    name = f"{node.name} ({node.node_id[:ID_LENGTH]})" if is_ambiguous else node.name
    return [
        escape(name),
        format_count(node.num_cpus),
        _gpus_cell(node),
        escape(node.torch_version),
        escape(node.cuda_version or "not used"),
        escape(node.driver_version or "not used"),
        escape(node.python_version),
    ]


def _gpus_cell(node: NodeInfo) -> str:
    """`2 x NVIDIA H200`, each model once; a bare number where their names are not known."""
    if not node.num_gpus:
        return "none"
    models = Counter(node.gpu_names)
    if sum(models.values()) != node.num_gpus:
        return escape(" ".join([format_count(node.num_gpus), *([f"({', '.join(models)})"] if models else [])]))
    return escape(", ".join(f"{number} × {name}" for name, number in models.items()))


def _use_sentence(use: SlotUse, *, joined: bool = False) -> str:
    told = f"Trials {'began' if joined else 'ran'} on {_number(use.num_slots, 'slot')}"
    if use.utilization is not None:
        told += f" with a utilization of {format_percent(use.utilization, decimals=0)}"
    rungs = {0: "no rung was", 1: "1 rung was"}.get(use.num_retries, f"{format_count(use.num_retries)} rungs were")
    return f"{told}; {rungs} run again because a worker died."


def _job_sentence(cluster: ClusterUse) -> str:
    share = cluster.gpus_per_job
    gpus = "" if not share else f" and {_number(share, 'GPU') if share >= 1 else f'{share:.2g} of a GPU'}"
    return f"Each job was given {_number(cluster.cpus_per_job, 'CPU')}{gpus}."


def _number(number: float, one: str, many: str | None = None) -> str:
    return f"{format_count(number)} {one if number == 1 else many or one + 's'}"
