"""What is probed, what is known of it before any attempt, and both together in the process that trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from probe.batch.decide import Plan
from probe.batch.prediction.forecast import Cards
from probe.batch.prediction.memory_model import FixedCosts, Profile, Untraceable
from probe.batch.records import Attempt
from probe.batch.samples.ranking import SampleRanking
from probe.device.select import DeviceSpec
from probe.errors import DeviceError, ProbeError
from probe.records import DeviceMemory, Precision, RunMeta, RunOrigin
from probe.tasks.source import TaskSource

if TYPE_CHECKING:
    from probe.device.protocol import Device
    from probe.task import Task
    from probe.training.settings import TrainerSettings

CONFIRM_STEPS = 30
CONFIRM_SECONDS = 5.0
"""A confirming attempt trains on that many shuffled batches and at least one epoch; after that time, on one of the two."""
NO_DEVICE = "no GPU: predicted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is probed: picklable, so that a child can build it."""

    source: TaskSource
    params: Mapping[str, Any] = field(default_factory=dict)
    """The trainer's hyperparameters and the task's own."""
    device: DeviceSpec
    seed: int = 0
    confirm_steps: int = CONFIRM_STEPS
    confirm_seconds: float = CONFIRM_SECONDS
    predict: bool = True
    rankings: tuple[SampleRanking, ...] = ()
    """Of the samples, as the first child found them; none: they are to be measured."""
    timed: bool = True
    """Measure speed as well, beyond what tells whether a size fits."""
    origin: RunOrigin = field(default_factory=RunOrigin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known once the task is built and the device open."""

    meta: RunMeta
    device: DeviceSpec
    """Resolved: every further child gets exactly this one."""
    device_problem: str | None = None
    """Why there is no device, so that nothing can be tried; None where there is one."""
    limit_bytes: int | None
    device_memory: DeviceMemory | None = None
    costs: FixedCosts | None = None
    """Measured on the device; None where they have to be assumed."""
    num_samples: int | None
    own_batch_size: int | None = None
    """The batch size that the task asks for."""
    rankings: tuple[SampleRanking, ...] = ()
    """Of the training samples and the task's own validation samples."""
    optimizer: str
    precision: Precision


class Session:
    """A built task and an open device, in the process that trains."""

    def __init__(self, request: Request) -> None:
        from probe.batch.samples.sizing import rank_samples
        from probe.device.environment import collect_meta
        from probe.device.select import gpu_problem, open_device, resolve_device
        from probe.loading.dataset import is_unbounded, num_samples
        from probe.training.building import build_task
        from probe.training.optim.names import optimizer_title
        from probe.training.settings import TrainerSettings

        spec = request.device
        problem = gpu_problem() if spec.kind == "auto" and request.predict else None
        if problem is None:
            spec = resolve_device(spec, measuring_memory=True)
        self.device: Device | None = None if problem else open_device(spec, measuring_memory=True)
        self.task: Task = build_task(request.source, request.params)
        params = {name: value for name, value in request.params.items() if name != "batch_size"}
        self.settings: TrainerSettings = TrainerSettings.for_task(self.task, params)
        self._request = request
        self.facts = Facts(
            meta=collect_meta(
                device=self.device.name if self.device else NO_DEVICE,
                seed=request.seed,
                origin=request.origin,
            ),
            device=spec,
            device_problem=problem,
            limit_bytes=self.device.limit_bytes if self.device else None,
            device_memory=self.device.memory if self.device else None,
            costs=None if self.device is None else _measured_costs(self.device),
            num_samples=None if is_unbounded(self.task.train) else num_samples(self.task.train),
            own_batch_size=self.task.batch_size,
            rankings=request.rankings or rank_samples(self.task, seed=request.seed),
            optimizer=optimizer_title(self.settings.optimizer),
            precision=self.settings.precision,
        )

    def forget_failure(self) -> None:
        """Stop counting what a failed attempt has left alive on a simulated device: PyTorch keeps the graph of a backward pass
        that ran out of memory."""
        from probe.device.select import open_device

        if self.device is not None and self.device.memory is None:
            self.device = open_device(self.facts.device, measuring_memory=True)

    def profile(self, cards: Cards) -> Profile | Untraceable:
        from probe.batch.prediction.predict import profile_of

        is_simulated = self.device is not None and not self.device.is_gpu
        try:
            return profile_of(
                self.task,
                self.settings,
                target="simulated" if is_simulated else "cuda",
                cards=cards,
                seed=self._request.seed,
                rankings=self.facts.rankings,
            )
        except ProbeError as error:  # the first attempt will meet it too, and say more
            return Untraceable(reason=error.message)

    def run(self, plan: Plan) -> Attempt:
        from probe.batch.attempt import run_attempt

        if self.device is None:
            raise DeviceError(f"There is no GPU to measure: {self.facts.device_problem}")
        return run_attempt(
            self.task,
            self.settings,
            device=self.device,
            plan=plan,
            seed=self._request.seed,
            rankings=self.facts.rankings,
            confirm_steps=self._request.confirm_steps,
            confirm_seconds=self._request.confirm_seconds,
            timed=self._request.timed,
        )


def _measured_costs(device: Device) -> FixedCosts | None:
    """What is known of a GPU's fixed costs; None for other devices."""
    if device.memory is None:
        return None
    costs = FixedCosts.assumed(device.memory.total_bytes)
    return replace(
        costs,
        context_bytes=device.memory.context_bytes,
        cublas_bytes=costs.cublas_bytes if device.workspace_bytes is None else device.workspace_bytes,
    )
