"""Follows which nodes of a Ray cluster are alive, and decides which nodes and resources a Ray task asks for."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from probe.errors import DeviceError
from probe.search.executors.ray.nodes import Node, NodeProbe, ProbeLostError, live_nodes, node_size
from probe.search.executors.ray.resources import SlotPlan, gpu_fraction
from probe.search.jobs.jobs import RungJob
from probe.search.records.cluster import ClusterUse

UPDATE_SECONDS = 2.0
"""Time between two updates of the live nodes. The loss of a node with a running job is noticed at once."""
WAIT_FOR_NODES_SECONDS = 120.0
"""Time without any node that could run a job, after which the search ends."""
FIRST_CALL_SECONDS = 900.0
"""Time for a new node to load the task's data, which it may have to download."""
MAX_PROBES = 3
"""Number of probes of a new node whose probe process dies."""
Options = dict[str, Any]
"""Options of a Ray remote function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstCall:
    """The call that every node makes before it gets jobs."""

    content: bytes
    """The encoded call, as `tasks.probe_node` takes it."""
    answer: Any
    """Its result on the nodes that are admitted. A node with another result is refused."""


class NodeMonitor:
    """The nodes of a cluster as they join and leave. New nodes are probed; they get jobs once they are admitted."""

    def __init__(self, nodes: Sequence[Node], plan: SlotPlan, use: ClusterUse) -> None:
        self.use = use
        """The cluster, with the nodes that joined, were refused, or were lost since."""
        self.sizes = {node.info.node_id: node.size for node in nodes}
        """Size of each live node that may run jobs, by id."""
        self.gpu_bytes = {node.info.node_id: node.gpu_bytes for node in nodes}
        """Memory of each node's smallest GPU, including lost nodes."""
        self.excluded: frozenset[str] = frozenset()
        """Live nodes that get no jobs: too small, refused, or not probed yet."""
        self.num_slots = plan.num_slots
        self.first_call: FirstCall | None = None
        """The call that new nodes make; until it is set, no new node is admitted."""
        self._plan = plan
        self._names = {node.info.node_id: node.info.name for node in nodes}
        self._probes: dict[str, NodeProbe] = {}
        self._num_probes: Counter[str] = Counter()
        self._admitted, self._refused = set(self.sizes), set[str]()
        self._updated, self._had_nodes = -math.inf, time.monotonic()

    def name(self, node_id: str | None) -> str:
        """Host name of a node, followed by the start of its id if several nodes have the same host name."""
        if node_id is None:
            return "a node"
        name = self._names.get(node_id, node_id[:8])
        return name if list(self._names.values()).count(name) < 2 else f"{name} {node_id[:4]}"

    def is_lost(self, node_id: str | None) -> bool:
        return node_id is not None and node_id in self.use.lost_nodes

    def is_admitted(self, node_id: str | None) -> bool:
        return node_id in self._admitted

    def expire(self) -> None:
        """Make the next `update` ask the cluster at once, since a job was lost."""
        self._updated = -math.inf

    def update(self) -> None:
        """Ask the cluster for its nodes, at most every UPDATE_SECONDS. Raises DeviceError after a long time without
        one."""
        now = time.monotonic()
        if now - self._updated < UPDATE_SECONDS:
            return
        self._updated = now
        records = live_nodes()
        gone = tuple(node_id for node_id in self.sizes if node_id not in records)
        if gone:
            self.use = replace(self.use, lost_nodes=(*self.use.lost_nodes, *gone))
        self._names |= {node_id: str(record["NodeManagerHostname"]) for node_id, record in records.items()}
        sizes = {node_id: node_size(record) for node_id, record in records.items()}
        fitting = {node_id: size for node_id, size in sizes.items() if self._plan.fits(size)}
        self._probe({node_id: records[node_id] for node_id in fitting})
        self.sizes = {node_id: size for node_id, size in fitting.items() if node_id in self._admitted}
        self.excluded = frozenset(records) - self._admitted
        num_slots = self._plan.slots_on(list(self.sizes.values()))
        if num_slots or self._probes:
            self._had_nodes = now
        elif now - self._had_nodes > WAIT_FOR_NODES_SECONDS:
            message = f"The Ray cluster had no node that could run a job for {WAIT_FOR_NODES_SECONDS:.0f} seconds."
            raise DeviceError(
                " ".join([message, *self.use.refusals]),
                hint="Start a node (ray start --address HOST:PORT), then continue with --resume.",
            )
        self.num_slots = max(1, num_slots)  # at least one, so that a job waits for the next node

    def close(self) -> None:
        for probe in self._probes.values():
            probe.close()
        self._probes.clear()

    def _probe(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Start probes of new nodes, and admit or refuse the nodes that have answered."""
        if self.first_call is None:
            return
        for node_id in records.keys() - self._admitted - self._refused - self._probes.keys():
            self._probes[node_id] = NodeProbe(
                records[node_id], Path(self.use.storage), first_call=self.first_call.content
            )
            self._num_probes[node_id] += 1
        for node_id, probe in list(self._probes.items()):
            is_late = time.monotonic() - probe.started > FIRST_CALL_SECONDS
            if node_id not in records or is_late or probe.has_ended():
                del self._probes[node_id]
                probe.close()
                if node_id in records:
                    self._admit(node_id, probe, self.first_call)

    def _admit(self, node_id: str, probe: NodeProbe, first_call: FirstCall) -> None:
        """Admit or refuse a node whose probe has ended."""
        try:
            node = probe.node()
            self._check(node, first_call)
        except DeviceError as error:
            if isinstance(error, ProbeLostError) and self._num_probes[node_id] < MAX_PROBES:
                return  # the next update probes it again if it is alive
            self._refused.add(node_id)
            refusal = " ".join(
                ["A node that joined the cluster gets no jobs.", *filter(None, (error.message, error.hint))]
            )
            self.use = replace(self.use, refusals=(*self.use.refusals, refusal))
        else:
            self._admitted.add(node_id)
            self.gpu_bytes[node_id] = node.gpu_bytes
            joined = (*self.use.joined_nodes, node_id)
            self.use = replace(self.use, nodes=(*self.use.nodes, node.info), joined_nodes=joined)

    def _check(self, node: Node, first_call: FirstCall) -> None:
        """Raise DeviceError if the node's jobs could not continue those of other nodes."""
        if not node.sees_storage:
            raise DeviceError(
                f"The node {node.info.name} cannot read and write the folder for checkpoints, {self.use.storage}."
            )
        if node.first_answer != first_call.answer:
            raise DeviceError(
                f"The node {node.info.name} has another task than the first node.",
                hint="Every node needs the same data files and the same version of the task's module.",
            )


class Placement:
    """Makes the Ray options of jobs and calls, for the nodes of a NodeMonitor."""

    def __init__(self, plan: SlotPlan, monitor: NodeMonitor) -> None:
        self._plan = plan
        self._monitor = monitor
        self._avoided: dict[int, str] = {}
        """Trial number -> id of the node that lost its last job."""

    @property
    def shared_gpu_bytes(self) -> int | None:
        """Memory of the smallest GPU if jobs share GPUs; None if they do not."""
        return self._gpu_bytes() if self._plan.shares_gpus(self._num_gpus()) else None

    def avoids(self, number: int) -> bool:
        return number in self._avoided

    def avoid(self, number: int, node_id: str | None) -> None:
        """Run the next jobs of a trial on another node if there is one; with None, on any node."""
        if node_id is None:
            self._avoided.pop(number, None)
        else:
            self._avoided[number] = node_id

    def for_job(self, job: RungJob) -> Options:
        options: Options = {"name": f"trial {job.number} to epoch {job.epochs_to}", **self._anywhere_but(job.number)}
        if self._plan.on_gpu:
            options["num_gpus"] = self._gpu_fraction(job)
        fresh = _fresh_process(f"trial {job.number} to epoch {job.epochs_to}") if job.needs_fresh_process else {}
        return {**options, **fresh}

    def shares_gpu(self, job: RungJob) -> bool:
        """Whether other jobs may run on the job's GPU."""
        return self._plan.on_gpu and self._gpu_fraction(job) < 1

    def _gpu_fraction(self, job: RungJob) -> float:
        return gpu_fraction(job.peak_bytes, gpu_bytes=self._gpu_bytes(), plan=self._plan, num_gpus=self._num_gpus())

    def for_call(self) -> Options:
        """Options of a call that runs while no job does, with a GPU for itself."""
        return {**self._anywhere_but(None), **({"num_gpus": 1} if self._plan.on_gpu else {})}

    def for_call_alone(self) -> Options:
        """Options of a call in a new process, on all cores of a node."""
        return {**self.for_call(), "num_cpus": self.num_cores, **_fresh_process("final training")}

    def for_call_beside(self) -> Options:
        """Options of a call that does not wait for running jobs."""
        return {**self._anywhere_but(None), "num_cpus": 0, "num_gpus": 0}

    def on_node(self, node_id: str) -> Options:
        """Options of a call on one node, without a GPU."""
        return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=False), "num_gpus": 0}

    @property
    def num_cores(self) -> int:
        """CPU cores that every node has."""
        return max(1, math.floor(min((size.num_cpus for size in self._monitor.sizes.values()), default=1)))

    def _gpu_bytes(self) -> int | None:
        sizes = (self._monitor.gpu_bytes.get(node_id) for node_id in self._monitor.sizes)
        return min((size for size in sizes if size is not None), default=None)

    def _num_gpus(self) -> float:
        return sum(size.num_gpus for size in self._monitor.sizes.values())

    def _anywhere_but(self, number: int | None) -> Options:
        excluded = set(self._monitor.excluded)
        avoided = None if number is None else self._avoided.get(number)
        if avoided is not None and any(node_id != avoided for node_id in self._monitor.sizes):
            excluded.add(avoided)
        return {"label_selector": {"ray.io/node-id": f"!in({','.join(sorted(excluded))})"}} if excluded else {}


def _fresh_process(what: str) -> Options:
    """Options of a task that gets a new process: Ray never runs a task in a process with another environment."""
    return {"runtime_env": {"env_vars": {"PROBE_FRESH_PROCESS": what}}}
