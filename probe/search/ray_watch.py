"""Which nodes of a Ray cluster are there: they come and go while a search runs, and its slots with them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from probe.errors import DeviceError
from probe.search.cluster_records import ClusterUse
from probe.search.ray_cluster import Node, live_nodes, node_size
from probe.search.ray_terms import SlotPlan

LOOK_SECONDS = 2.0
"""Between two looks at which nodes are there; a lost one is noticed at once where a job ran on it."""
WAIT_FOR_NODES_SECONDS = 120.0
"""Without any node that could run a job."""


class NodeWatch:
    def __init__(self, nodes: Sequence[Node], plan: SlotPlan, use: ClusterUse) -> None:
        self.use = use
        """With the nodes that were lost since."""
        self.sizes = {node.facts.node_id: node.size for node in nodes}
        """Of the nodes that can run jobs, by id."""
        self.num_slots = plan.num_slots
        self._plan = plan
        self._names = {node.facts.node_id: node.facts.name for node in nodes}
        self._looked = self._saw_nodes = time.monotonic()

    def name(self, node_id: str | None) -> str:
        """The host's; with the beginning of the id where several nodes are on one host."""
        if node_id is None:
            return "a node"
        name = self._names.get(node_id, node_id[:8])
        return name if list(self._names.values()).count(name) < 2 else f"{name} {node_id[:4]}"

    def is_lost(self, node_id: str | None) -> bool:
        return node_id is not None and node_id in self.use.lost_nodes

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
        self.sizes = {node_id: size for node_id, size in found.items() if size.num_cpus >= 1}
        num_slots = self._plan.slots_on(list(self.sizes.values()))
        if num_slots:
            self._saw_nodes = now
        elif now - self._saw_nodes > WAIT_FOR_NODES_SECONDS:
            raise DeviceError(
                f"For {WAIT_FOR_NODES_SECONDS:.0f} seconds the Ray cluster has had no node that could run a job.",
                hint="Start one (ray start --address HOST:PORT) and go on with --resume.",
            )
        self.num_slots = max(1, num_slots)  # one at least: a job waits for a node to come
