"""Which nodes of a Ray cluster are there: they come and go while a search runs, and its slots with them."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from probe.errors import DeviceError
from probe.search.executors.ray.nodes import Node, NodeProbe, ProbeLostError, live_nodes, node_size
from probe.search.executors.ray.resources import SlotPlan
from probe.search.records.cluster import ClusterUse

LOOK_SECONDS = 2.0
"""Between two looks at which nodes are there; a lost one is noticed at once where a job ran on it."""
WAIT_FOR_NODES_SECONDS = 120.0
"""Without any node that could run a job."""
FIRST_CALL_SECONDS = 900.0
"""For a node that joined, to load the search's data: it may have to download them."""
MAX_LOOKS = 3
"""At a node whose answers are lost on their way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstCall:
    """What every node runs before it gets jobs."""

    content: bytes
    """As `probe.search.executors.ray.on_node.probe_node` takes it."""
    answer: Any
    """That of the nodes that are there; a node that answers otherwise is refused."""


class NodeMonitor:
    def __init__(self, nodes: Sequence[Node], plan: SlotPlan, use: ClusterUse) -> None:
        self.use = use
        """With the nodes that joined, were refused and were lost since."""
        self.sizes = {node.facts.node_id: node.size for node in nodes}
        """Of the nodes that jobs may run on, by id."""
        self.gpu_bytes = {node.facts.node_id: node.gpu_bytes for node in nodes}
        """Of each node's smallest GPU, lost nodes' included."""
        self.shut_out: frozenset[str] = frozenset()
        """Nodes that are there and get no work: too small for it, refused, or they have not said yet what they are."""
        self.num_slots = plan.num_slots
        self.first_call: FirstCall | None = None
        """None: it has not been made, and no other node is let in yet."""
        self._plan = plan
        self._names = {node.facts.node_id: node.facts.name for node in nodes}
        self._looks: dict[str, NodeProbe] = {}
        """At nodes that have joined, until they answer."""
        self._num_looks: Counter[str] = Counter()
        self._let_in, self._refused = set(self.sizes), set[str]()
        self._looked, self._saw_nodes = -math.inf, time.monotonic()

    def name(self, node_id: str | None) -> str:
        """The host's; with the beginning of the id where several nodes are on one host."""
        if node_id is None:
            return "a node"
        name = self._names.get(node_id, node_id[:8])
        return name if list(self._names.values()).count(name) < 2 else f"{name} {node_id[:4]}"

    def is_lost(self, node_id: str | None) -> bool:
        return node_id is not None and node_id in self.use.lost_nodes

    def is_let_in(self, node_id: str | None) -> bool:
        return node_id in self._let_in

    def look_again(self) -> None:
        """A job was lost: the next `look` must not wait."""
        self._looked = -math.inf

    def look(self) -> None:
        """At most every LOOK_SECONDS. Raises DeviceError where no node has been there for WAIT_FOR_NODES_SECONDS."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        records = live_nodes()
        gone = tuple(node_id for node_id in self.sizes if node_id not in records)
        if gone:
            self.use = replace(self.use, lost_nodes=(*self.use.lost_nodes, *gone))
        self._names |= {node_id: str(record["NodeManagerHostname"]) for node_id, record in records.items()}
        found = {node_id: node_size(record) for node_id, record in records.items()}
        fit = {node_id: size for node_id, size in found.items() if self._plan.fits(size)}
        self._look_at({node_id: records[node_id] for node_id in fit})
        self.sizes = {node_id: size for node_id, size in fit.items() if node_id in self._let_in}
        self.shut_out = frozenset(records) - self._let_in
        num_slots = self._plan.slots_on(list(self.sizes.values()))
        if num_slots or self._looks:
            self._saw_nodes = now
        elif now - self._saw_nodes > WAIT_FOR_NODES_SECONDS:
            said = f"For {WAIT_FOR_NODES_SECONDS:.0f} seconds the Ray cluster has had no node that could run a job."
            raise DeviceError(
                " ".join([said, *self.use.refusals]),
                hint="Start one (ray start --address HOST:PORT) and go on with --resume.",
            )
        self.num_slots = max(1, num_slots)  # one at least: a job waits for a node to come

    def close(self) -> None:
        for look in self._looks.values():
            look.close()
        self._looks.clear()

    def _look_at(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Ask those that are new, and let in or refuse those that have answered."""
        if self.first_call is None:
            return
        storage = None if self.use.storage is None else Path(self.use.storage)
        for node_id in records.keys() - self._let_in - self._refused - self._looks.keys():
            self._looks[node_id] = NodeProbe(records[node_id], storage, first_call=self.first_call.content)
            self._num_looks[node_id] += 1
        for node_id, look in list(self._looks.items()):
            is_late = time.monotonic() - look.started > FIRST_CALL_SECONDS
            if node_id not in records or is_late or look.has_ended():
                del self._looks[node_id]
                look.close()
                if node_id in records:
                    self._judge(node_id, look, self.first_call)

    def _judge(self, node_id: str, look: NodeProbe, first_call: FirstCall) -> None:
        """A node that joined has said what it is."""
        try:
            node = look.node()
            self._check(node, first_call)
        except DeviceError as error:
            if isinstance(error, ProbeLostError) and self._num_looks[node_id] < MAX_LOOKS:
                return  # if it is still there, it is asked again
            self._refused.add(node_id)
            told = " ".join(
                ["A node that joined the cluster gets no jobs.", *filter(None, (error.message, error.hint))]
            )
            self.use = replace(self.use, refusals=(*self.use.refusals, told))
        else:
            self._let_in.add(node_id)
            self.gpu_bytes[node_id] = node.gpu_bytes
            joined = (*self.use.joined_nodes, node_id)
            self.use = replace(self.use, nodes=(*self.use.nodes, node.facts), joined_nodes=joined)

    def _check(self, node: Node, first_call: FirstCall) -> None:
        """Raises DeviceError where its jobs could not go on from the others'."""
        if self.use.storage is not None and not node.sees_storage:
            raise DeviceError(f"The node {node.facts.name} does not see the storage {self.use.storage}.")
        if node.first_answer != first_call.answer:
            raise DeviceError(
                f"The node {node.facts.name} sees another task than the others.",
                hint="Every node needs the same data files and the same version of the task's module.",
            )
