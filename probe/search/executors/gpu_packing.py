"""Packs trials onto GPUs by the memory that each of them is predicted to need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from probe.batch.prediction.memory_model import FixedCosts, Untraceable
from probe.batch.prediction.predict import TargetGpus
from probe.device.select import DeviceSpec, device_limit
from probe.errors import ProbeError
from probe.search.executors.protocol import SearchExecutor
from probe.search.executors.slots import GpuLoad, choose_gpu
from probe.search.records.search import ParamValue
from probe.tasks.source import TaskSource


class PackedTrial(Protocol):
    """The attributes of a trial that packing uses."""

    @property
    def number(self) -> int: ...

    @property
    def params(self) -> Mapping[str, ParamValue]: ...

    @property
    def gradient_accumulation(self) -> int | None:
        """Number of micro-batches per batch; None if batches are not split."""


Predict = Callable[[PackedTrial], int | None]
"""Predicts the peak memory of a trial in bytes; None if it cannot be predicted."""


class PeakPredictions:
    """Predicts the peak memory of trials, each configuration once."""

    def __init__(self, predict: Predict) -> None:
        self._predict = predict
        self._known: dict[tuple[int, int | None], int | None] = {}

    def __call__(self, trial: PackedTrial) -> int | None:
        key = (trial.number, trial.gradient_accumulation)
        if key not in self._known:
            self._known[key] = self._predict(trial)
        return self._known[key]


class GpuPacker:
    """Decides whether a trial fits beside the running ones, and remembers its GPU."""

    def __init__(
        self,
        limits_bytes: Sequence[int],
        predict: Predict,
        *,
        slots_by_gpu: Sequence[int] | None = None,
        count_idle: Callable[[int], int] = lambda gpu: 0,
    ) -> None:
        """`limits_bytes`: memory of each GPU. `slots_by_gpu`: slots on each GPU; None if not limited. `count_idle`
        returns the number of idle workers on a GPU, each of which holds a context."""
        self._limits_bytes = tuple(limits_bytes)
        self._peak = PeakPredictions(predict)
        self._slots_by_gpu = slots_by_gpu
        self._count_idle = count_idle
        self._chosen: dict[int, int] = {}

    def __call__(self, trial: PackedTrial, running: Sequence[PackedTrial]) -> bool:
        """Whether the trial can start now; if so, its GPU is remembered."""
        gpu: int | None = 0
        if running or len(self._limits_bytes) > 1:  # alone on the only GPU, no prediction is needed
            loads = [self._load(gpu, running) for gpu in range(len(self._limits_bytes))]
            gpu = choose_gpu(self._peak(trial), loads)
        if gpu is None:
            return False
        self._chosen[trial.number] = gpu
        return True

    def gpu_of(self, trial: PackedTrial) -> int | None:
        """The GPU on which the trial was last found to fit; None if there is only one GPU."""
        return self._chosen.get(trial.number) if len(self._limits_bytes) > 1 else None

    def _load(self, gpu: int, running: Sequence[PackedTrial]) -> GpuLoad:
        here = [trial for trial in running if self._chosen.get(trial.number, 0) == gpu]
        # One of the idle workers is the one that would run the trial.
        idle_bytes = max(0, self._count_idle(gpu) - 1) * FixedCosts().context_bytes
        return GpuLoad(
            limit_bytes=self._limits_bytes[gpu],
            running_peaks=tuple(self._peak(trial) for trial in here),
            idle_bytes=idle_bytes,
            has_free_slot=self._slots_by_gpu is None or len(here) < self._slots_by_gpu[gpu],
        )


def make_gpu_packer(
    source: TaskSource, device: DeviceSpec, batch_size: int, executor: SearchExecutor
) -> GpuPacker | None:
    """A packer for this machine's GPUs. None if no trials share the memory of a GPU (on the CPU, with one slot per GPU,
    and on a cluster, which places the trials itself), or if that memory is unknown."""
    slots_by_gpu = executor.resources.slots_by_gpu
    if not device.is_gpu or max(slots_by_gpu, default=1) == 1:
        return None
    limits: list[int | None] = executor.run(device_limit, device, on="every_gpu")
    known = [limit for limit in limits if limit is not None]
    if len(known) < len(limits):
        return None
    predict = _predictor(source, batch_size, executor, limit_bytes=min(known))
    return GpuPacker(
        known, predict, slots_by_gpu=slots_by_gpu, count_idle=lambda gpu: executor.resources.idle_by_gpu[gpu]
    )


def make_peak_predictions(source: TaskSource, batch_size: int, executor: SearchExecutor) -> PeakPredictions | None:
    """Peak predictions for an executor that places jobs by them; None for any other executor."""
    limit_bytes = executor.resources.shared_gpu_bytes
    if limit_bytes is None:
        return None
    return PeakPredictions(_predictor(source, batch_size, executor, limit_bytes=limit_bytes))


def _predictor(source: TaskSource, default_batch_size: int, executor: SearchExecutor, *, limit_bytes: int) -> Predict:
    def predict(trial: PackedTrial) -> int | None:
        split = {} if trial.gradient_accumulation is None else {"gradient_accumulation": trial.gradient_accumulation}
        params = {**trial.params, **split}
        batch_size = int(params.get("batch_size", default_batch_size))
        try:
            peak: int | None = executor.run(predicted_peak, source, params, batch_size, limit_bytes, on="beside")
        except ProbeError:  # the trial itself will report the error
            return None
        return peak

    return predict


def predicted_peak(
    source: TaskSource, params: Mapping[str, ParamValue], batch_size: int, limit_bytes: int
) -> int | None:
    """Predict the peak memory of a training run in bytes, including the context of its process; None if the training
    step cannot be traced. Runs in a worker, since tracing has crashed PyTorch before. Raises the errors of the task's
    own code."""
    from probe.batch.prediction.build_memory_model import build_memory_model

    gpus = TargetGpus(memory_bytes=(limit_bytes,), bound=batch_size)  # traces this batch size if it fits
    found = build_memory_model(source, params=dict(params), gpus=gpus, in_process=True)
    if isinstance(found, Untraceable):
        return None
    return found.simulate(batch_size, costs=FixedCosts.assumed(limit_bytes)).peak_bytes
