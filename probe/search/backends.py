"""Where the jobs of a search run: processes of this machine, or the nodes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from probe.device.select import DeviceSpec, gpu_of_job, on_cpu, resolve_device
from probe.device.visible import visible_gpus
from probe.errors import OutputError, UsageError
from probe.search.deterministic import WORKER_ENVIRONMENT, make_deterministic
from probe.search.executors.local import LocalExecutor, threads_per_slot
from probe.search.executors.protocol import SearchExecutor
from probe.search.executors.ray.resources import RayAddress, SlotPlan, parse_ray_address, plan_slots
from probe.search.records.cluster import ClusterUse
from probe.search.session import Session


class Backend(Protocol):
    """Where a search runs, before it has begun."""

    @property
    def device(self) -> DeviceSpec:
        """Resolved, as the jobs see it."""

    @property
    def num_workers(self) -> int | None:
        """Jobs side by side; None: as is usual on this machine."""

    @property
    def num_threads(self) -> int | None:
        """PyTorch's in each job; None: the machine's cores, divided."""

    @property
    def num_gpus(self) -> int:
        """That this machine's workers are spread over."""

    def open(self, session: Session) -> AbstractContextManager[SearchExecutor]:
        """The executor of a session. Raises DeviceError, OutputError before anything is spent."""


@contextmanager
def find_backend(
    ray: str | None, *, device: DeviceSpec, num_workers: int | None, deterministic: bool
) -> Iterator[Backend]:
    """`ray`: the address of a cluster; None: this machine. Raises UsageError, DeviceError."""
    if ray is None:
        spec = resolve_device(device, measuring_memory=False)
        yield LocalBackend(device=spec, num_workers=num_workers, gpus=visible_gpus(device, spec))
        return
    address = parse_ray_address(ray)
    if device.index is not None:
        raise UsageError(f"--device {device}: which GPU a job gets is for Ray to say.", hint="Write --device cuda.")
    from probe.search.executors.ray.cluster import connected

    environment = WORKER_ENVIRONMENT if deterministic else {}
    with connected(address, environment=environment):
        from probe.search.executors.ray.nodes import live_nodes, node_size

        sizes = [node_size(record) for record in live_nodes().values()]
        on_gpu = device.is_gpu or (device.kind == "auto" and any(size.num_gpus >= 1 for size in sizes))
        plan = plan_slots(sizes, num_workers=num_workers or (1 if deterministic else None), on_gpu=on_gpu)
        yield RayBackend(address=address, device=_device_of_jobs(device, on_gpu=on_gpu), plan=plan)


def _device_of_jobs(device: DeviceSpec, *, on_gpu: bool) -> DeviceSpec:
    """A job sees the GPU that Ray gave it as its first one; this machine may have none."""
    if on_gpu:
        return gpu_of_job(device)
    return resolve_device(on_cpu(device), measuring_memory=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalBackend:
    device: DeviceSpec
    num_workers: int | None
    num_threads: int | None = None
    gpus: tuple[str, ...] = ()

    @property
    def num_gpus(self) -> int:
        return max(1, len(self.gpus))

    @contextmanager
    def open(self, session: Session) -> Iterator[SearchExecutor]:
        begun = session.begun
        with LocalExecutor(
            begun.num_workers,
            num_threads=begun.meta.num_threads,
            env=WORKER_ENVIRONMENT if begun.deterministic else None,
            prepare=make_deterministic if begun.deterministic else None,
            gpus=self.gpus,
        ) as executor:
            yield executor


@dataclass(frozen=True, slots=True, kw_only=True)
class RayBackend:
    address: RayAddress
    device: DeviceSpec
    plan: SlotPlan

    @property
    def num_workers(self) -> int:
        return self.plan.num_slots

    @property
    def num_gpus(self) -> int:
        return 1

    @property
    def num_threads(self) -> int:
        """Workers of one machine share its cores; a node's CPUs are what it offers."""
        return self.plan.cpus_per_job if self.address.num_local is None else threads_per_slot(self.plan.num_slots)

    @contextmanager
    def open(self, session: Session) -> Iterator[SearchExecutor]:
        from probe.search.executors.ray.executor import RayExecutor
        from probe.search.executors.ray.nodes import blind_nodes, probe_nodes

        nodes = probe_nodes(session.checkpoints, self.plan)
        blind = blind_nodes(nodes)
        if blind and session.storage is not None:
            raise OutputError(
                f"The node {blind[0]} does not see the storage {session.storage}, or cannot write there.",
                hint="Name a folder that is mounted at the same path on every node, or leave --storage away: checkpoints "
                "then travel through Ray's object store.",
            )
        begun = session.begun
        shares = self.plan.shares(sum(node.facts.num_gpus for node in nodes))
        use = ClusterUse(
            address=self.address.text,
            nodes=tuple(node.facts for node in nodes),
            num_slots=self.plan.num_slots,
            cpus_per_job=self.plan.cpus_per_job,
            gpus_per_job=1.0 if self.plan.on_gpu and not shares else None,
            storage=None if blind else str(session.storage or session.checkpoints),
        )
        executor = RayExecutor(
            nodes,
            self.plan,
            use=use,
            num_threads=begun.meta.num_threads,
            prepare=make_deterministic if begun.deterministic else None,
        )
        try:
            yield executor
        finally:
            executor.close()
