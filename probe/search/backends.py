"""The backends of a search: worker processes of this machine, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass

from probe.device.select import DeviceSpec, gpu_of_job, on_cpu, resolve_device, seen_alone, visible_gpus
from probe.errors import UsageError
from probe.search.executors.local import LocalExecutor, threads_per_slot
from probe.search.executors.protocol import SearchExecutor
from probe.search.executors.ray.resources import RayAddress, SlotPlan, parse_ray_address, plan_slots
from probe.search.jobs.worker_calls import DETERMINISTIC_ENVIRONMENT, make_deterministic
from probe.search.records.cluster import ClusterUse
from probe.search.session import SearchSession


@contextmanager
def find_backend(
    ray: str | None, *, device: DeviceSpec, num_workers: int | None, deterministic: bool
) -> Iterator[Backend]:
    """The backend for the address of a Ray cluster; None for this machine. Raises UsageError, DeviceError."""
    if ray is None:
        spec = seen_alone(resolve_device(device, measuring_memory=False))
        yield LocalBackend(device=spec, num_workers=num_workers, gpus=visible_gpus(device, spec))
        return
    address = parse_ray_address(ray)
    if device.index is not None:
        raise UsageError(
            f"--device {device} cannot be combined with --ray: Ray assigns the GPUs.", hint="Use --device cuda."
        )
    from probe.search.executors.ray.cluster import connected

    environment = DETERMINISTIC_ENVIRONMENT if deterministic else {}
    with connected(address, environment=environment):
        from probe.search.executors.ray.nodes import live_nodes, node_size

        sizes = [node_size(record) for record in live_nodes().values()]
        on_gpu = device.is_gpu or (device.kind == "auto" and any(size.num_gpus >= 1 for size in sizes))
        plan = plan_slots(sizes, num_workers=num_workers or (1 if deterministic else None), on_gpu=on_gpu)
        yield RayBackend(address=address, device=_device_of_jobs(device, on_gpu=on_gpu), plan=plan)


def _device_of_jobs(device: DeviceSpec, *, on_gpu: bool) -> DeviceSpec:
    """The device of a job on a cluster: a GPU that Ray assigned is the job's first one. This machine may have no GPU."""
    if on_gpu:
        return gpu_of_job(device)
    return resolve_device(on_cpu(device), measuring_memory=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalBackend:
    """Worker processes of this machine."""

    device: DeviceSpec
    """The resolved device, as jobs see it."""
    num_workers: int | None
    """Number of jobs that run at the same time; None for the default of this machine."""
    num_threads: int | None = None
    """Number of PyTorch threads of each job; None to divide the cores of this machine."""
    gpus: tuple[str, ...] = ()

    @property
    def num_gpus(self) -> int:
        """Number of GPUs of this machine that the workers are spread over."""
        return max(1, len(self.gpus))

    def open(self, session: SearchSession) -> AbstractContextManager[SearchExecutor]:
        """The executor of a session. Raises DeviceError, OutputError or UsageError before the first trial."""
        start = session.start
        return LocalExecutor(
            start.num_workers,
            num_threads=start.meta.num_threads,
            env=self.device.environment | (DETERMINISTIC_ENVIRONMENT if start.deterministic else {}),
            prepare=make_deterministic if start.deterministic else None,
            gpus=self.gpus,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RayBackend:
    """A Ray cluster that this process is connected to."""

    address: RayAddress
    device: DeviceSpec
    plan: SlotPlan
    num_gpus: int = 1

    @property
    def num_workers(self) -> int:
        return self.plan.num_slots

    @property
    def num_threads(self) -> int:
        """On a local cluster, the cores of this machine divided by the workers; otherwise the CPUs that a job asks for."""
        return self.plan.cpus_per_job if self.address.num_local is None else threads_per_slot(self.plan.num_slots)

    def open(self, session: SearchSession) -> AbstractContextManager[SearchExecutor]:
        from probe.search.executors.ray.executor import RayExecutor
        from probe.search.executors.ray.nodes import check_storage, driver_address, probe_nodes

        nodes = probe_nodes(session.checkpoints, self.plan)
        check_storage(nodes, driver=driver_address(), storage=session.storage, checkpoints=session.checkpoints)
        start = session.start
        shares_gpus = self.plan.shares_gpus(sum(node.info.num_gpus for node in nodes))
        use = ClusterUse(
            address=self.address.text,
            nodes=tuple(node.info for node in nodes),
            num_slots=self.plan.num_slots,
            cpus_per_job=self.plan.cpus_per_job,
            gpus_per_job=1.0 if self.plan.on_gpu and not shares_gpus else None,
            storage=str(session.storage or session.checkpoints),
        )
        prepare = make_deterministic if start.deterministic else None
        return closing(RayExecutor(nodes, self.plan, use=use, num_threads=start.meta.num_threads, prepare=prepare))


Backend = LocalBackend | RayBackend
"""Where a search runs, known before the search is opened."""
