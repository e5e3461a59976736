"""Finds the nodes of a Ray cluster and checks them before they get jobs."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from probe.errors import DeviceError, OutputError, UsageError
from probe.search.executors.ray.resources import NodeSize, SlotPlan
from probe.search.executors.ray.tasks import probe_node
from probe.search.jobs.checkpoint_files import node_probe_path
from probe.search.records.cluster import NodeInfo
from probe.version import VERSION
from probe.workers.worker import Raised, Returned, decode_event

ANSWER_SECONDS = 60.0
"""Time for a node to start a process and describe itself."""

_LOST = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.TaskUnschedulableError,
)


class ProbeLostError(DeviceError):
    """The process that probed a node died, or the node did: nothing is known about the node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node that answered its probe."""

    info: NodeInfo
    gpu_bytes: int | None
    """Memory of its smallest GPU; None without a GPU."""
    sees_storage: bool
    """Whether it can read and write the folder of checkpoints."""
    first_answer: Any = None
    """Result of its first call; None if it was not asked for one."""

    @property
    def size(self) -> NodeSize:
        return NodeSize(num_cpus=self.info.num_cpus, num_gpus=self.info.num_gpus)


def live_nodes() -> dict[str, Mapping[str, Any]]:
    """Ray's records of the live nodes, by id."""
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def node_size(record: Mapping[str, Any]) -> NodeSize:
    resources = record["Resources"]
    return NodeSize(num_cpus=resources.get("CPU", 0.0), num_gpus=resources.get("GPU", 0.0))


class NodeProbe:
    """Asks one node to describe itself, in a process of its own on that node. Until `close`, the folder of
    checkpoints contains a file with a random token; the node sees the folder if it finds the token."""

    def __init__(self, record: Mapping[str, Any], storage: Path, *, first_call: bytes | None = None) -> None:
        """Start the probe. `first_call` is described in `tasks.probe_node`. Raises OutputError if `storage`, the folder of
        checkpoints, cannot be written."""
        token = secrets.token_hex(16)
        self.started = time.monotonic()
        self._record = record
        self._file = _probe_file(storage, record["NodeID"], token)
        options: dict[str, Any] = {
            "num_cpus": 0,
            "max_retries": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(record["NodeID"], soft=False),
        }
        self.answer = ray.remote(probe_node).options(**options).remote(str(self._file), token, VERSION, first_call)

    def has_ended(self) -> bool:
        return bool(ray.wait([self.answer], timeout=0)[0])

    def node(self) -> Node:
        """The node, as it described itself. Raises ProbeLostError if the probe was lost, DeviceError if the node has no probe
        or another version of it, has not answered yet, or failed in its first call."""
        return _node(self._record, self.answer if self.has_ended() else None)

    def close(self) -> None:
        with suppress(OSError):  # a leftover file does no harm, and shared folders may fail
            self._file.unlink(missing_ok=True)


def probe_nodes(storage: Path, plan: SlotPlan | None = None) -> list[Node]:
    """Probe all nodes that can run jobs of `plan`, at the same time; without a plan, all nodes with a CPU core.
    Raises DeviceError if one of them is unusable or there is none, OutputError if `storage` cannot be written."""
    fits = plan.fits if plan is not None else lambda size: size.num_cpus >= 1
    probes: list[NodeProbe] = []
    try:
        for record in live_nodes().values():
            if fits(node_size(record)):
                probes.append(NodeProbe(record, storage))
        if not probes:
            raise DeviceError(
                "The Ray cluster has no node left that can run a job.", hint="`ray status` lists its nodes."
            )
        ray.wait([probe.answer for probe in probes], num_returns=len(probes), timeout=ANSWER_SECONDS)
        return [probe.node() for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def driver_address() -> str:
    """IP address of this machine in the cluster."""
    return str(live_nodes()[ray.get_runtime_context().get_node_id()]["NodeManagerAddress"])


def check_storage(nodes: Sequence[Node], *, driver: str, storage: Path | None, checkpoints: Path) -> None:
    """Check that all nodes can continue from each other's checkpoints. `driver` is the IP address of this machine, and
    `storage` the folder given with `--storage`, which several machines require. Raises UsageError, OutputError."""
    machines = sorted({driver, *(node.info.address for node in nodes)})
    if storage is None and len(machines) > 1:
        raise UsageError(
            f"The Ray cluster has {len(machines)} machines ({', '.join(machines)}), so --storage is required: a trial may "
            "continue on another machine than the one that saved its checkpoint.",
            hint="Add --storage PATH, with a folder that is mounted at the same path on all machines.",
        )
    blind = [node.info.name for node in nodes if not node.sees_storage]
    if blind:
        raise OutputError(
            f"The node {blind[0]} cannot read and write the folder for checkpoints, {checkpoints}.",
            hint="Give --storage PATH, with a folder that is mounted at the same path on all nodes.",
        )


def _probe_file(storage: Path, node_id: str, token: str) -> Path:
    file = node_probe_path(storage.absolute(), node_id, token)
    try:
        storage.mkdir(parents=True, exist_ok=True)
        file.write_text(token, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"The folder for checkpoints, {storage}, cannot be written: {error}") from None
    return file


def _node(record: Mapping[str, Any], answer: Any) -> Node:
    name = f"{record['NodeManagerHostname']} ({record['NodeManagerAddress']})"
    same = f"Install probe {VERSION} there, in the Python environment that runs `ray start`."
    if answer is None:
        raise DeviceError(f"The node {name} did not answer in time.", hint="`ray status` shows whether it is alive.")
    try:
        answered = ray.get(answer)
    except _LOST as error:
        raise ProbeLostError(f"The node {name} was lost while it was probed ({type(error).__name__}).") from None
    except Exception as error:  # anything may keep a node from running five lines of probe
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DeviceError(f"The node {name} cannot run probe: {lines[-1].strip()}", hint=same) from None
    if answered["info"]["probe_version"] != VERSION:
        raise DeviceError(
            f"The node {name} has probe {answered['info']['probe_version']}, this machine has {VERSION}.", hint=same
        )
    end = None if answered["end_of_first_call"] is None else decode_event(answered["end_of_first_call"])
    if isinstance(end, Raised):
        raise DeviceError(f"The node {name} cannot run this search: {end.error.message}", hint=end.error.hint)
    size = node_size(record)
    info = NodeInfo(
        **answered["info"],
        address=record["NodeManagerAddress"],
        node_id=record["NodeID"],
        num_cpus=size.num_cpus,
        num_gpus=size.num_gpus,
    )
    if not info.num_gpus:
        info = replace(info, gpu_names=())
    return Node(
        info=info,
        gpu_bytes=answered["gpu_bytes"] if info.num_gpus else None,
        sees_storage=answered["sees_storage"],
        first_answer=end.value if isinstance(end, Returned) else None,
    )
