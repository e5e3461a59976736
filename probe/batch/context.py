"""The configuration of a batch probe, and the built task with its device in the process that trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from probe.batch.decide import NextAttempt, duration_of
from probe.batch.prediction.memory_model import FixedCosts, MemoryModel, Untraceable
from probe.batch.prediction.predict import TargetGpus
from probe.batch.records import Attempt
from probe.batch.sample_ranking import SampleRanking
from probe.device.select import DeviceSpec
from probe.errors import DeviceError, ProbeError
from probe.records import DeviceMemory, Precision, RunMeta, RunOrigin
from probe.tasks.source import TaskSource

if TYPE_CHECKING:
    from probe.device.protocol import Device
    from probe.task import Task
    from probe.training.settings import TrainerSettings

CONFIRM_STEPS = 30
"""Shuffled batches in a confirming attempt, which also trains for at least one epoch."""
CONFIRM_SECONDS = 5.0
"""Time after which a confirming attempt ends with either CONFIRM_STEPS batches or one epoch."""
NO_DEVICE = "no GPU: predicted"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeConfig:
    """Description of what to probe. It is picklable, so that a child process can build the task."""

    source: TaskSource
    params: Mapping[str, Any] = field(default_factory=dict)
    device: DeviceSpec
    seed: int = 0
    confirm_steps: int = CONFIRM_STEPS
    confirm_seconds: float = CONFIRM_SECONDS
    predict: bool = True
    rankings: tuple[SampleRanking, ...] = ()
    """Rankings of the samples; empty if they are still to be measured."""
    timed: bool = True
    """Whether to measure speed, rather than only whether a size fits."""
    origin: RunOrigin = field(default_factory=RunOrigin)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeInfo:
    """Properties of the built task and the open device."""

    meta: RunMeta
    device: DeviceSpec
    """The resolved device, which all further child processes open."""
    device_problem: str | None = None
    """Reason why there is no device for attempts; None if there is one."""
    limit_bytes: int | None
    device_memory: DeviceMemory | None = None
    device_warnings: tuple[str, ...] = ()
    costs: FixedCosts | None = None
    """Fixed costs measured on the device; None if they have to be assumed."""
    num_samples: int | None
    """Number of training samples; None if there is no limit."""
    task_batch_size: int | None = None
    rankings: tuple[SampleRanking, ...] = ()
    """Rankings of the training samples and of the task's own validation samples."""
    optimizer: str
    precision: Precision


class ProbeContext:
    """A built task and an open device, in the process that trains."""

    def __init__(self, config: ProbeConfig) -> None:
        from probe.batch.task_samples import rank_samples
        from probe.device.environment import collect_meta
        from probe.device.select import gpu_problem, open_device, resolve_device
        from probe.loading.dataset import is_unbounded, num_samples
        from probe.training.building import build_task
        from probe.training.optimizer_names import optimizer_title
        from probe.training.settings import TrainerSettings

        spec = config.device
        problem = gpu_problem() if spec.kind == "auto" and config.predict else None
        if problem is None:
            spec = resolve_device(spec, measuring_memory=True)
        self.device: Device | None = None if problem else open_device(spec, measuring_memory=True)
        self.task: Task = build_task(config.source, config.params)
        params = {name: value for name, value in config.params.items() if name != "batch_size"}
        self.settings: TrainerSettings = TrainerSettings.for_task(self.task, params)
        self._config = config
        self.info = ProbeInfo(
            meta=collect_meta(
                device=self.device.name if self.device else NO_DEVICE,
                seed=config.seed,
                origin=config.origin,
            ),
            device=spec,
            device_problem=problem,
            limit_bytes=self.device.limit_bytes if self.device else None,
            device_memory=self.device.memory if self.device else None,
            device_warnings=self.device.warnings(self.settings.precision) if self.device else (),
            costs=None if self.device is None else _measured_costs(self.device),
            num_samples=None if is_unbounded(self.task.train) else num_samples(self.task.train),
            task_batch_size=self.task.batch_size,
            rankings=config.rankings or rank_samples(self.task, seed=config.seed),
            optimizer=optimizer_title(self.settings.optimizer),
            precision=self.settings.precision,
        )

    def discard_failed(self) -> None:
        """Reopen a simulated device, so that it no longer counts the tensors of a failed attempt: PyTorch keeps the graph of a
        backward pass that ran out of memory."""
        from probe.device.select import open_device

        if self.device is not None and self.device.memory is None:
            self.device = open_device(self.info.device, measuring_memory=True)

    def build_memory_model(self, gpus: TargetGpus) -> MemoryModel | Untraceable:
        """Trace the task at the sizes that matter for `gpus`."""
        from probe.batch.prediction.build_memory_model import build_for_task

        is_simulated = self.device is not None and not self.device.is_gpu
        try:
            return build_for_task(
                self.task,
                self.settings,
                target="simulated" if is_simulated else "gpu",
                gpus=gpus,
                seed=self._config.seed,
                rankings=self.info.rankings,
            )
        except ProbeError as error:  # the first attempt raises the same error with more details
            return Untraceable(reason=error.message)

    def run(self, upcoming: NextAttempt) -> Attempt:
        """Make one attempt. Raises DeviceError without a device, and ProbeError if the task breaks its contract."""
        from probe.batch.attempt import run_attempt

        if self.device is None:
            raise DeviceError(f"There is no GPU to measure: {self.info.device_problem}")
        config = self._config
        return run_attempt(
            self.task,
            self.settings,
            upcoming,
            device=self.device,
            seed=config.seed,
            rankings=self.info.rankings,
            duration=duration_of(upcoming.purpose, config.confirm_steps, config.confirm_seconds, timed=config.timed),
        )


def _measured_costs(device: Device) -> FixedCosts | None:
    """Return the fixed costs of a GPU, measured where possible; None for other devices."""
    if device.memory is None:
        return None
    costs = FixedCosts.assumed(device.memory.total_bytes)
    return replace(
        costs,
        context_bytes=device.memory.context_bytes,
        cublas_bytes=costs.cublas_bytes if device.workspace_bytes is None else device.workspace_bytes,
    )
