"""What a task asks Ray for: cores, a share of a GPU, and which nodes it stays away from."""

from __future__ import annotations

from typing import Any

from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from probe.search.executors.ray.monitor import NodeMonitor
from probe.search.executors.ray.resources import SlotPlan, gpu_share
from probe.search.jobs.jobs import RungJob

Options = dict[str, Any]
"""Of a remote function of Ray."""


class Placement:
    def __init__(self, plan: SlotPlan, watch: NodeMonitor) -> None:
        self._plan = plan
        self._watch = watch
        self._avoided: dict[int, str] = {}
        """Trial -> the node that lost its last job."""

    @property
    def shared_gpu_bytes(self) -> int | None:
        """Of the smallest GPU, where jobs share them."""
        return self._gpu_bytes() if self._plan.shares(self._num_gpus()) else None

    def avoids(self, number: int) -> bool:
        return number in self._avoided

    def avoid(self, number: int, node_id: str | None) -> None:
        """The trial's next job goes elsewhere, if there is such a place; None: anywhere."""
        if node_id is None:
            self._avoided.pop(number, None)
        else:
            self._avoided[number] = node_id

    def of_job(self, job: RungJob) -> Options:
        options: Options = {"name": f"trial {job.number} to epoch {job.epochs_to}", **self._anywhere_but(job.number)}
        if self._plan.on_gpu:
            options["num_gpus"] = gpu_share(
                job.peak_bytes, gpu_bytes=self._gpu_bytes(), plan=self._plan, num_gpus=self._num_gpus()
            )
        fresh = _fresh_process(f"trial {job.number} to epoch {job.epochs_to}") if job.needs_fresh_process else {}
        return {**options, **fresh}

    def of_final_fit(self, *, num_cpus: int) -> Options:
        return {**self.of_call(num_cpus=num_cpus), **_fresh_process("final fit")}

    def of_call(self, *, num_cpus: int | None = None) -> Options:
        """Of one that runs alone, so that it has a GPU for itself; None: as many cores as a job."""
        options = self._anywhere_but(None)
        if self._plan.on_gpu:
            options["num_gpus"] = 1
        return options if num_cpus is None else {**options, "num_cpus": num_cpus}

    def of_call_beside(self) -> Options:
        """Of one that must not wait for the jobs that run."""
        return {**self._anywhere_but(None), "num_cpus": 0, "num_gpus": 0}

    def on_node(self, node_id: str) -> Options:
        """Of a call that needs no GPU, on that node and no other."""
        return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=False), "num_gpus": 0}

    def _gpu_bytes(self) -> int | None:
        sizes = (self._watch.gpu_bytes.get(node_id) for node_id in self._watch.sizes)
        return min((size for size in sizes if size is not None), default=None)

    def _num_gpus(self) -> float:
        return sum(size.num_gpus for size in self._watch.sizes.values())

    def _anywhere_but(self, number: int | None) -> Options:
        no_place = set(self._watch.shut_out)
        avoided = None if number is None else self._avoided.get(number)
        if avoided is not None and any(node_id != avoided for node_id in self._watch.sizes):
            no_place.add(avoided)
        return {"label_selector": {"ray.io/node-id": f"!in({','.join(sorted(no_place))})"}} if no_place else {}


def _fresh_process(what: str) -> Options:
    """Ray never gives a task a process of another environment: in one of its own, no other job has run."""
    return {"runtime_env": {"env_vars": {"PROBE_FRESH_PROCESS": what}}}
