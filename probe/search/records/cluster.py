"""Where a search ran: the nodes of its cluster and the utilization of its slots."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeInfo:
    """One machine of a cluster, as measured on it when the session started or when the machine joined."""

    name: str
    """Host name."""
    address: str
    """IP address."""
    node_id: str
    """The cluster's identifier of the node. It differs between two nodes on one machine."""
    num_cpus: float
    """CPUs that the cluster may use, which may be fewer than the machine has."""
    num_gpus: float
    gpu_names: tuple[str, ...]
    probe_version: str
    python_version: str
    torch_version: str
    cuda_version: str | None
    """CUDA version that PyTorch was built with; None for a CPU build."""
    driver_version: str | None
    """Version of the NVIDIA driver; None without one."""
    platform: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterUse:
    """The cluster of a search's last session."""

    address: str
    """Address as the user gave it: `auto`, `HOST:PORT`, `local:2`."""
    nodes: tuple[NodeInfo, ...]
    """All nodes that took part, lost ones included."""
    num_slots: int
    """Number of jobs that could run at a time when the session started."""
    cpus_per_job: float
    gpus_per_job: float | None
    """None: no job asks for a GPU, or each for what its own trial needs."""
    storage: str
    """The folder for checkpoints, which all nodes see."""
    lost_nodes: tuple[str, ...] = ()
    """Nodes that were lost in the session: their `node_id`, or their name if it is unique."""
    joined_nodes: tuple[str, ...] = ()
    """The `node_id` of each node that joined after the session had started."""
    refusals: tuple[str, ...] = ()
    """One sentence for each node that joined and was excluded, with the reason."""

    @property
    def num_alive(self) -> int:
        """Number of nodes that were not lost."""
        return sum(not self.is_lost(node) for node in self.nodes)

    def is_lost(self, node: NodeInfo) -> bool:
        """Whether the node was lost in the session."""
        return node.node_id in self.lost_nodes or node.name in self.lost_nodes

    def described(self, use: SlotUse) -> SlotUse:
        """Add this cluster's number of nodes to `use`, and remove a utilization that joined nodes make meaningless."""
        return replace(use, num_nodes=self.num_alive, utilization=None if self.joined_nodes else use.utilization)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotUse:
    """How well the slots of a search were used, on one machine or many."""

    num_slots: int
    num_nodes: int | None
    """Number of nodes alive; None without a cluster."""
    utilization: float | None
    """Fraction of the slots' time since the first trial in which jobs ran. None before the first job, and if nodes
    joined, since the number of slots over time is not recorded."""
    num_retries: int
    """Number of rungs that were repeated because their worker or node died."""

    def __post_init__(self) -> None:
        if self.utilization is not None and not 0 <= self.utilization <= 1:
            raise ValueError(f"utilization must be between 0 and 1, not {self.utilization}")
