"""Parses `--ray`, and plans slots on the cores and GPUs of a cluster. Pure; imports no Ray."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from probe.errors import DeviceError, UsageError
from probe.limits import MAX_WORKERS
from probe.search.executors.slots import MARGIN, MAX_DEFAULT_SLOTS

FORMS = (
    "Use --ray auto for the cluster that this machine belongs to, --ray HOST:PORT for the cluster with this head node, or "
    "--ray local:N for a new cluster of N workers on this machine."
)
SMALLEST_FRACTION = 1e-4
"""Unit of Ray's fractions of a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayAddress:
    """The address of a cluster."""

    text: str
    """The address as the user gave it: `auto`, `HOST:PORT` or `local:N`."""
    num_local: int | None = None
    """Number of workers of a local cluster started for this search; None to join a running cluster."""

    @property
    def host_and_port(self) -> tuple[str, int] | None:
        """Host and port of the head node; None for `auto` and `local:N`."""
        host, _, port = self.text.rpartition(":")
        return None if self.num_local is not None or not host else (host.strip("[]"), int(port))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSize:
    """The CPU cores and GPUs that a node offers to Ray."""

    num_cpus: float
    num_gpus: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotPlan:
    """Number of slots, and the resources of each job."""

    num_slots: int
    cpus_per_job: int
    on_gpu: bool
    num_workers: int | None = None
    """Value of `--workers`; None if it is not given."""

    def shares_gpus(self, num_gpus: float) -> bool:
        """Whether several jobs share a GPU if the cluster has `num_gpus`."""
        return self.on_gpu and self.num_slots > num_gpus

    def fits(self, node: NodeSize) -> bool:
        """Whether a job can run on a node without other jobs."""
        return self.slots_on([node]) > 0

    def slots_on(self, nodes: Sequence[NodeSize]) -> int:
        """Number of slots on these nodes, for a cluster whose nodes have changed."""
        num_slots = _gpu_slots(nodes) if self.on_gpu else _cpu_slots(nodes, self.cpus_per_job)
        if self.num_workers is None:
            return num_slots
        return self.num_workers if self.on_gpu and num_slots else min(num_slots, self.num_workers)


def parse_ray_address(text: str) -> RayAddress:
    """Parse `auto`, `HOST:PORT` or `local:N`. Raises UsageError for any other text."""
    given = text.strip()
    if given == "auto":
        return RayAddress(text=given)
    local = re.fullmatch("local:([0-9]+)", given)
    if local is not None:
        num_local = int(local[1][:10])
        if num_local < 1:
            raise UsageError(f"--ray {given}: a cluster needs at least one worker.", hint=FORMS)
        if num_local > MAX_WORKERS:
            raise UsageError(f"--ray {given[:40]}: a local cluster has at most {MAX_WORKERS:,} workers.", hint=FORMS)
        return RayAddress(text=given, num_local=num_local)
    remote = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[\w.-]+):([0-9]{1,5})", given)
    if remote is None or remote[1] == "local" or not 0 < int(remote[2]) < 2**16:
        raise UsageError(f"--ray {given or repr(text)}: not an address of a Ray cluster.", hint=FORMS)
    return RayAddress(text=given)


def plan_slots(nodes: Sequence[NodeSize], *, num_workers: int | None, on_gpu: bool) -> SlotPlan:
    """Plan the slots of a search: `num_workers`, each with as many cores as possible; by default one per GPU, or one
    per core with at most four per node, which share its cores. Raises DeviceError or UsageError if the nodes are too
    small."""
    fit = [node for node in nodes if node.num_cpus >= 1 and (not on_gpu or node.num_gpus >= 1)]
    if not fit:
        wanted = "a GPU and a CPU core" if on_gpu else "a CPU core"
        raise DeviceError(
            f"No node of the Ray cluster offers {wanted}: {_sizes_text(nodes)}.",
            hint="Start a larger node (ray start --num-cpus, --num-gpus)"
            + (", or use --device cpu." if on_gpu else "."),
        )
    most = _cpu_slots(fit, 1)
    if num_workers is not None and num_workers > most:
        raise UsageError(
            f"--workers {num_workers}: the Ray cluster has {most} CPU cores for jobs, and a job takes at least one.",
            hint=f"Use at most {most} workers, or add nodes.",
        )
    if on_gpu:
        num_slots = num_workers or _gpu_slots(fit)
        cpus = max(1, min(math.floor(node.num_cpus / max(1, math.floor(node.num_gpus))) for node in fit))
    elif num_workers is None:
        cpus = min(math.floor(node.num_cpus / min(math.floor(node.num_cpus), MAX_DEFAULT_SLOTS)) for node in fit)
        num_slots = _cpu_slots(fit, cpus)
    else:
        largest = math.floor(max(node.num_cpus for node in fit))
        cpus = max(cpus for cpus in range(1, largest + 1) if cpus == 1 or _cpu_slots(fit, cpus) >= num_workers)
        num_slots = num_workers
    while on_gpu and cpus > 1 and _cpu_slots(fit, cpus) < num_slots:
        cpus -= 1
    return SlotPlan(num_slots=num_slots, cpus_per_job=cpus, on_gpu=on_gpu, num_workers=num_workers)


def gpu_fraction(peak_bytes: int | None, *, gpu_bytes: int | None, plan: SlotPlan, num_gpus: float) -> float:
    """The fraction of a GPU that a job asks Ray for, from its predicted peak memory and a margin. It is 1 if either memory is
    unknown, and with as many GPUs as slots: Ray would otherwise put two small jobs on one GPU and leave another one idle."""
    if peak_bytes is None or not gpu_bytes or not plan.shares_gpus(num_gpus):
        return 1.0
    fraction = math.ceil(MARGIN * peak_bytes / gpu_bytes / SMALLEST_FRACTION) * SMALLEST_FRACTION
    return min(1.0, max(SMALLEST_FRACTION, fraction))


def _cpu_slots(nodes: Sequence[NodeSize], cpus: int) -> int:
    return sum(math.floor(node.num_cpus / cpus) for node in nodes)


def _gpu_slots(nodes: Sequence[NodeSize]) -> int:
    return sum(min(math.floor(node.num_gpus), math.floor(node.num_cpus)) for node in nodes)


def _sizes_text(nodes: Sequence[NodeSize]) -> str:
    return ", ".join(f"{node.num_cpus:g} CPUs and {node.num_gpus:g} GPUs" for node in nodes) or "it has no nodes"
