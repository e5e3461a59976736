"""What `--ray` asks for, and how a cluster's cores and GPUs become slots. Pure; no Ray."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from probe.errors import DeviceError, UsageError
from probe.search.executors.slots import MARGIN, MAX_DEFAULT_SLOTS

FORMS = (
    "--ray auto: the cluster that this machine is part of; --ray HOST:PORT: that of this head; --ray local:N: one of N workers "
    "on this machine alone."
)
SMALLEST_SHARE = 1e-4
"""Ray counts fractions of a GPU in ten-thousandths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayAddress:
    """Of a cluster, as the user gave it."""

    text: str
    num_local: int | None = None
    """Workers of a cluster that is started on this machine for this search alone; None: one that runs already."""

    @property
    def host_and_port(self) -> tuple[str, int] | None:
        """None where the address has none: `auto`, `local:N`."""
        host, _, port = self.text.rpartition(":")
        return None if self.num_local is not None or not host else (host.strip("[]"), int(port))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSize:
    """What a node offers to Ray."""

    num_cpus: float
    num_gpus: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotPlan:
    """How many jobs run side by side, and what each of them asks Ray for."""

    num_slots: int
    cpus_per_job: int
    on_gpu: bool
    num_workers: int | None = None
    """What the user asked for."""

    def shares(self, num_gpus: float) -> bool:
        """Whether jobs share GPUs, of so many."""
        return self.on_gpu and self.num_slots > num_gpus

    def fits(self, node: NodeSize) -> bool:
        """Whether a job could run there, were nothing else on it."""
        return self.slots_on([node]) > 0

    def slots_on(self, nodes: Sequence[NodeSize]) -> int:
        """Of these nodes, where others have gone or come."""
        num_slots = _gpu_slots(nodes) if self.on_gpu else _cpu_slots(nodes, self.cpus_per_job)
        if self.num_workers is None:
            return num_slots
        return self.num_workers if self.on_gpu and num_slots else min(num_slots, self.num_workers)


def parse_ray_address(text: str) -> RayAddress:
    """`auto`, `HOST:PORT` or `local:N`. Raises UsageError for anything else."""
    given = text.strip()
    if given == "auto":
        return RayAddress(text=given)
    local = re.fullmatch("local:([0-9]+)", given)
    if local is not None:
        if int(local[1]) < 1:
            raise UsageError(f"--ray {given}: a cluster needs at least one worker.", hint=FORMS)
        return RayAddress(text=given, num_local=int(local[1]))
    remote = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[\w.-]+):([0-9]{1,5})", given)
    if remote is None or remote[1] == "local" or not 0 < int(remote[2]) < 2**16:
        raise UsageError(f"--ray {given or repr(text)}: this is no address of a Ray cluster.", hint=FORMS)
    return RayAddress(text=given)


def plan_slots(nodes: Sequence[NodeSize], *, num_workers: int | None, on_gpu: bool) -> SlotPlan:
    """As on one machine: a slot a GPU, or one for each core, at most four a node, which share its cores. `num_workers` makes
    them as many as that, with as many cores each as there are; on GPUs that are too few for it, jobs share them.

    Raises:
        DeviceError: no node has what is asked for.
        UsageError: more workers than there are cores.
    """
    fit = [node for node in nodes if node.num_cpus >= 1 and (not on_gpu or node.num_gpus >= 1)]
    if not fit:
        wanted = "a GPU and a CPU core" if on_gpu else "a CPU core"
        raise DeviceError(
            f"No node of the Ray cluster offers {wanted}: {_told(nodes)}.",
            hint="Start a node with more (ray start --num-cpus, --num-gpus)"
            + (", or take --device cpu." if on_gpu else "."),
        )
    most = _cpu_slots(fit, 1)
    if num_workers is not None and num_workers > most:
        raise UsageError(
            f"--workers {num_workers}: the Ray cluster has {most} CPU cores for jobs, and a job takes one at least.",
            hint=f"Take at most {most}, or add nodes.",
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


def gpu_share(peak_bytes: int | None, *, gpu_bytes: int | None, plan: SlotPlan, num_gpus: float) -> float:
    """Of one GPU, for a job whose memory is predicted to peak there; all of it where nothing is known, or where there are as
    many GPUs as slots: Ray would put two small jobs on one of them and leave the other idle."""
    if peak_bytes is None or not gpu_bytes or not plan.shares(num_gpus):
        return 1.0
    share = math.ceil(MARGIN * peak_bytes / gpu_bytes / SMALLEST_SHARE) * SMALLEST_SHARE
    return min(1.0, max(SMALLEST_SHARE, share))


def _cpu_slots(nodes: Sequence[NodeSize], cpus: int) -> int:
    return sum(math.floor(node.num_cpus / cpus) for node in nodes)


def _gpu_slots(nodes: Sequence[NodeSize]) -> int:
    return sum(min(math.floor(node.num_gpus), math.floor(node.num_cpus)) for node in nodes)


def _told(nodes: Sequence[NodeSize]) -> str:
    return ", ".join(f"{node.num_cpus:g} CPUs and {node.num_gpus:g} GPUs" for node in nodes) or "it has none"
