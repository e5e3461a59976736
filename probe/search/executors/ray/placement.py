"""Decides what a Ray task asks for: CPU cores, a fraction of a GPU, and the nodes that it avoids."""

from __future__ import annotations

import math
from typing import Any

from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from probe.search.executors.ray.monitor import NodeMonitor
from probe.search.executors.ray.resources import SlotPlan, gpu_fraction
from probe.search.jobs.jobs import RungJob

Options = dict[str, Any]
"""Options of a Ray remote function."""


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
            options["num_gpus"] = gpu_fraction(
                job.peak_bytes, gpu_bytes=self._gpu_bytes(), plan=self._plan, num_gpus=self._num_gpus()
            )
        fresh = _fresh_process(f"trial {job.number} to epoch {job.epochs_to}") if job.needs_fresh_process else {}
        return {**options, **fresh}

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
