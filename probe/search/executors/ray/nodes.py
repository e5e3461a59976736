"""Which nodes a Ray cluster has, and what each of them says of itself before it gets work."""

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

from probe.errors import DeviceError, OutputError, last_line
from probe.search.executors.ray.on_node import probe_node
from probe.search.executors.ray.resources import NodeSize, SlotPlan
from probe.search.records.cluster import NodeInfo
from probe.version import VERSION
from probe.workers.worker import Raised, Returned, decode_event

ANSWER_SECONDS = 60.0
"""For a node to start a process and to look at itself."""


_LOST = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.TaskUnschedulableError,
)


class ProbeLostError(DeviceError):
    """The process that looked at a node was lost, or the node with it: nothing is known of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node that answered."""

    facts: NodeInfo
    gpu_bytes: int | None
    sees_storage: bool
    first_answer: Any = None
    """Of its first call, where there was one."""

    @property
    def size(self) -> NodeSize:
        return NodeSize(num_cpus=self.facts.num_cpus, num_gpus=self.facts.num_gpus)


def live_nodes() -> dict[str, Mapping[str, Any]]:
    """Ray's own records of the nodes that are there, by id."""
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def node_size(record: Mapping[str, Any]) -> NodeSize:
    resources = record["Resources"]
    return NodeSize(num_cpus=resources.get("CPU", 0.0), num_gpus=resources.get("GPU", 0.0))


class NodeProbe:
    """One node, asked what it is by a process of its own there. The file that it looks for lies in the storage until it has
    answered."""

    def __init__(self, record: Mapping[str, Any], storage: Path | None, *, first_call: bytes | None = None) -> None:
        """`storage`: None: it is not asked for one. `first_call`: as of `probe_node`. Raises OutputError."""
        token = secrets.token_hex(16)
        self.started = time.monotonic()
        self._record = record
        self._file = None if storage is None else _probe_file(storage, record["NodeID"], token)
        options: dict[str, Any] = {
            "num_cpus": 0,
            "max_retries": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(record["NodeID"], soft=False),
        }
        file = None if self._file is None else str(self._file)
        self.answer = ray.remote(probe_node).options(**options).remote(file, token, VERSION, first_call)

    def has_ended(self) -> bool:
        return bool(ray.wait([self.answer], timeout=0)[0])

    def node(self) -> Node:
        """Raises DeviceError: it has no probe, another version of it, has not answered yet, or its first call failed.
        LookLostError: nobody could say."""
        return _node(self._record, self.answer if self.has_ended() else None)

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # nobody reads it any more, and shared folders have their moods
                self._file.unlink(missing_ok=True)


def probe_nodes(storage: Path, plan: SlotPlan | None = None) -> list[Node]:
    """All nodes that can run jobs of that plan, asked at once; None: that have a core.

    Raises:
        DeviceError: one of them has no probe, another version of it, or does not answer; or there is none.
        OutputError: the storage cannot be written.
    """
    fits = plan.fits if plan is not None else lambda size: size.num_cpus >= 1
    looks: list[NodeProbe] = []
    try:
        for record in live_nodes().values():
            if fits(node_size(record)):
                looks.append(NodeProbe(record, storage))
        if not looks:
            raise DeviceError(
                "The Ray cluster has no node left that could run a job.", hint="`ray status` shows its nodes."
            )
        ray.wait([look.answer for look in looks], num_returns=len(looks), timeout=ANSWER_SECONDS)
        return [look.node() for look in looks]
    finally:
        for look in looks:
            look.close()


def blind_nodes(nodes: Sequence[Node]) -> list[str]:
    """Names of those that do not see the storage."""
    return [node.facts.name for node in nodes if not node.sees_storage]


def _probe_file(storage: Path, node_id: str, token: str) -> Path:
    file = storage.absolute() / f".seen-by-{node_id[:8]}-{token[:8]}"
    try:
        storage.mkdir(parents=True, exist_ok=True)
        file.write_text(token, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"The folder for checkpoints, {storage}, cannot be written: {error}") from None
    return file


def _node(record: Mapping[str, Any], answer: Any) -> Node:
    name = f"{record['NodeManagerHostname']} ({record['NodeManagerAddress']})"
    same = f"Install probe {VERSION} there, in the Python environment that `ray start` is run from."
    if answer is None:
        raise DeviceError(
            f"The node {name} did not answer in time.",
            hint="`ray status` shows whether it is well.",
        )
    try:
        said = ray.get(answer)
    except _LOST as error:
        raise ProbeLostError(f"The node {name} was lost while it was looked at ({type(error).__name__}).") from None
    except Exception as error:  # whatever keeps a node from running five lines of ours
        raise DeviceError(f"The node {name} cannot run probe: {last_line(error)}", hint=same) from None
    if said["facts"]["probe_version"] != VERSION:
        raise DeviceError(
            f"The node {name} has probe {said['facts']['probe_version']}, and this is {VERSION}.", hint=same
        )
    end = None if said["end_of_first_call"] is None else decode_event(said["end_of_first_call"])
    if isinstance(end, Raised):
        raise DeviceError(f"The node {name} cannot run this search: {end.error.message}", hint=end.error.hint)
    size = node_size(record)
    facts = NodeInfo(
        **said["facts"],
        address=record["NodeManagerAddress"],
        node_id=record["NodeID"],
        num_cpus=size.num_cpus,
        num_gpus=size.num_gpus,
    )
    if not facts.num_gpus:
        facts = replace(facts, gpu_names=())
    return Node(
        facts=facts,
        gpu_bytes=said["gpu_bytes"] if facts.num_gpus else None,
        sees_storage=said["sees_storage"],
        first_answer=end.value if isinstance(end, Returned) else None,
    )
