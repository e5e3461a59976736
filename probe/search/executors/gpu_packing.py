"""Packs trials onto GPUs by the memory that each of them is predicted to need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from probe.batch.prediction.memory_model import FixedCosts, Untraceable
from probe.batch.prediction.predict import TargetGpus
from probe.device.select import DeviceSpec, open_device
from probe.errors import ProbeError
from probe.search.executors.protocol import Resources, SearchExecutor
from probe.search.executors.slots import GpuChoice, GpuLoad, choose_gpu
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

    @property
    def needs_whole_gpu(self) -> bool: ...


Predict = Callable[[PackedTrial], int | None]
"""Predicts the peak memory of a trial in bytes; None if it cannot be predicted."""


class PeakPredictions:
    """Predicts the peak memory of trials, each configuration once. None for a trial that needs a whole GPU, whatever it is
    predicted to use."""

    def __init__(self, predict: Predict) -> None:
        self._predict = predict
        self._known: dict[tuple[int, int | None], int | None] = {}

    def __call__(self, trial: PackedTrial) -> int | None:
        if trial.needs_whole_gpu:
            return None
        key = (trial.number, trial.gradient_accumulation)
        if key not in self._known:
            self._known[key] = self._predict(trial)
        return self._known[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuMemory:
    """The memory of one GPU, as a worker measured it that had the GPU for itself."""

    offered_bytes: int
    """Memory that other programs leave to all workers together, their contexts included."""
    context_bytes: int
    """Size of the context of a worker."""


class GpuPacker:
    """Decides whether a trial fits beside the running ones, and remembers its GPU."""

    def __init__(self, gpus: Sequence[GpuMemory], predict: Predict, *, resources: Callable[[], Resources]) -> None:
        """`resources` returns those of the executor at the moment."""
        self._gpus = tuple(gpus)
        self._peak = PeakPredictions(predict)
        self._resources = resources
        self._chosen: dict[int, GpuChoice] = {}

    def __call__(self, trial: PackedTrial, running: Sequence[PackedTrial]) -> bool:
        """Whether the trial can start now; if so, its GPU is remembered."""
        is_alone = not running and len(self._gpus) == 1 and max(self._resources().idle_by_gpu) <= 1
        peaks = [None if is_alone else self._peak(one) for one in (trial, *running)]  # may start a worker
        resources = self._resources()
        loads = [self._load(gpu, resources, running, peaks[1:]) for gpu in range(len(self._gpus))]
        choice = choose_gpu(peaks[0], loads)
        if choice is None:
            return False
        self._chosen[trial.number] = choice
        return True

    def choice(self, trial: PackedTrial) -> GpuChoice:
        """Where the trial was last found to fit."""
        return self._chosen[trial.number]

    def _load(
        self, gpu: int, resources: Resources, running: Sequence[PackedTrial], peaks: Sequence[int | None]
    ) -> GpuLoad:
        here = [peak for one, peak in zip(running, peaks, strict=True) if self._chosen[one.number].gpu == gpu]
        memory, measured_again = self._gpus[gpu], resources.offered_by_gpu[gpu]
        num_idle = max(0, resources.idle_by_gpu[gpu] - 1)  # one of the idle workers runs the trial
        return GpuLoad(
            limit_bytes=memory.offered_bytes if measured_again is None else measured_again,
            running_peaks=tuple(here),
            idle_bytes=num_idle * memory.context_bytes + resources.held_by_gpu[gpu],
            has_free_slot=len(here) < resources.slots_by_gpu[gpu],
        )


def make_gpu_packer(
    source: TaskSource, device: DeviceSpec, batch_size: int, executor: SearchExecutor
) -> GpuPacker | None:
    """A packer for this machine's GPUs. None if no trials share the memory of a GPU (on the CPU, with one slot per GPU,
    and on a cluster, which places the trials itself), or if that memory is unknown."""
    if not device.is_gpu or max(executor.resources.slots_by_gpu, default=1) == 1:
        return None
    executor.close_idle()  # what is in use now is used by other programs
    measured: list[GpuMemory | None] = executor.run(measure_gpu, device, on="every_gpu")
    gpus = [gpu for gpu in measured if gpu is not None]
    if len(gpus) < len(measured):
        return None
    predict = _predictor(source, batch_size, executor, min(gpus, key=lambda gpu: gpu.offered_bytes))
    return GpuPacker(gpus, predict, resources=lambda: executor.resources)


def measure_gpu(device: DeviceSpec) -> GpuMemory | None:
    """Measure a GPU in a new worker, before other workers use it. None if its memory is unknown."""
    memory = open_device(device, measuring_memory=False).memory
    if memory is None:
        return None
    return GpuMemory(offered_bytes=memory.offered_bytes, context_bytes=memory.context_bytes)


def make_peak_predictions(source: TaskSource, batch_size: int, executor: SearchExecutor) -> PeakPredictions | None:
    """Peak predictions for an executor that places jobs by them; None for any other executor."""
    offered_bytes = executor.resources.shared_gpu_bytes
    if offered_bytes is None:
        return None
    gpu = GpuMemory(offered_bytes=offered_bytes, context_bytes=FixedCosts.assumed(offered_bytes).context_bytes)
    return PeakPredictions(_predictor(source, batch_size, executor, gpu))


def _predictor(source: TaskSource, default_batch_size: int, executor: SearchExecutor, gpu: GpuMemory) -> Predict:
    def predict(trial: PackedTrial) -> int | None:
        split = {} if trial.gradient_accumulation is None else {"gradient_accumulation": trial.gradient_accumulation}
        params = {**trial.params, **split}
        batch_size = int(params.get("batch_size", default_batch_size))
        try:
            peak: int | None = executor.run(predicted_peak, source, params, batch_size, gpu, on="beside")
        except ProbeError:  # the trial itself will report the error
            return None
        return peak

    return predict


def predicted_peak(source: TaskSource, params: Mapping[str, ParamValue], batch_size: int, gpu: GpuMemory) -> int | None:
    """Predict the peak memory of a training run on `gpu` in bytes, including the context of its process; None if the training
    step cannot be traced. Runs in a worker, since tracing has crashed PyTorch before. Raises the errors of the task's
    own code."""
    from probe.batch.prediction.build_memory_model import build_memory_model

    costs = replace(FixedCosts.assumed(gpu.offered_bytes), context_bytes=gpu.context_bytes)
    gpus = TargetGpus(memory_bytes=(gpu.offered_bytes,), bound=batch_size, costs=costs)  # traces this size if it fits
    found = build_memory_model(source, params=dict(params), gpus=gpus, in_process=True)
    if isinstance(found, Untraceable):
        return None
    resident_bytes = found.resident_bytes(gpu.offered_bytes)
    return found.simulate(batch_size, costs=costs, resident_bytes=resident_bytes).peak_bytes
