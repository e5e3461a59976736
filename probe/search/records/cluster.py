"""Where a search ran: the nodes of its cluster, and how well its slots were used. Plain records."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeInfo:
    """One machine of a cluster, as it said of itself when the session began or when it joined."""

    name: str
    """Its host name."""
    address: str
    """Its IP address."""
    node_id: str
    """The cluster's own name for it: two nodes on one machine share all else."""
    num_cpus: float
    """That the cluster may use, not those that the machine has."""
    num_gpus: float
    gpu_names: tuple[str, ...]
    probe_version: str
    python_version: str
    torch_version: str
    cuda_version: str | None
    """PyTorch's own; None: built for the CPU."""
    driver_version: str | None
    """None: no NVIDIA driver."""
    platform: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterUse:
    """The cluster of a search's last session."""

    address: str
    """As the user gave it: `auto`, `HOST:PORT`, `local:2`."""
    nodes: tuple[NodeInfo, ...]
    """All that took part, lost ones included."""
    num_slots: int
    """Jobs side by side, at the start of the session."""
    cpus_per_job: float
    gpus_per_job: float | None
    """None: no job asks for a GPU, or each for what its own trial needs."""
    storage: str
    """The folder for checkpoints, which all nodes see."""
    lost_nodes: tuple[str, ...] = ()
    """The `node_id`, or the name where no other node has it, of each that was lost in the session."""
    joined_nodes: tuple[str, ...] = ()
    """The `node_id` of each that came when the session had begun."""
    refusals: tuple[str, ...] = ()
    """Why a node that joined got no jobs, one sentence each."""

    @property
    def num_alive(self) -> int:
        """Nodes that are there."""
        return sum(not self.is_lost(node) for node in self.nodes)

    def is_lost(self, node: NodeInfo) -> bool:
        return node.node_id in self.lost_nodes or node.name in self.lost_nodes

    def described(self, use: SlotUse) -> SlotUse:
        """The same, as it is to be told of this cluster."""
        return replace(use, num_nodes=self.num_alive, idle_share=None if self.joined_nodes else use.idle_share)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotUse:
    """How well the slots of a search were used, on one machine or many."""

    num_slots: int
    num_nodes: int | None
    """That are there; None: no cluster."""
    idle_share: float | None
    """Of the slots' time since the first trial, that no job ran in; None before anything has run, or where nodes joined: how
    many slots there were when is not kept."""
    num_retries: int
    """Rungs that were run again because their worker or their node died."""

    def __post_init__(self) -> None:
        if self.idle_share is not None and not 0 <= self.idle_share <= 1:
            raise ValueError(f"the idle share must lie between 0 and 1, not {self.idle_share}")
