"""The memory of one or several GPUs shared out among trials by what each is predicted to take."""

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
    """What packing needs to know of a trial."""

    @property
    def number(self) -> int: ...

    @property
    def params(self) -> Mapping[str, ParamValue]: ...

    @property
    def gradient_accumulation(self) -> int | None:
        """Parts that each batch is split into; None: not split."""


Predict = Callable[[PackedTrial], int | None]


class PeakPredictions:
    """Predicted peaks of trials' memory, each configuration's found out once."""

    def __init__(self, predict: Predict) -> None:
        self._predict = predict
        self._known: dict[tuple[int, int | None], int | None] = {}

    def __call__(self, trial: PackedTrial) -> int | None:
        key = (trial.number, trial.gradient_accumulation)
        if key not in self._known:
            self._known[key] = self._predict(trial)
        return self._known[key]


class GpuPacker:
    """Says of a trial whether it fits beside those that run, and remembers where. Every configuration is predicted once."""

    def __init__(
        self,
        limits_bytes: Sequence[int],
        predict: Predict,
        *,
        slots_by_gpu: Sequence[int] | None = None,
        count_idle: Callable[[int], int] = lambda gpu: 0,
    ) -> None:
        """`limits_bytes` has one entry a GPU; so has `slots_by_gpu`, None: whoever asks has a slot on each."""
        self._limits_bytes = tuple(limits_bytes)
        self._peak = PeakPredictions(predict)
        self._slots_by_gpu = slots_by_gpu
        self._count_idle = count_idle
        self._chosen: dict[int, int] = {}

    def __call__(self, trial: PackedTrial, running: Sequence[PackedTrial]) -> bool:
        gpu: int | None = 0
        if running or len(self._limits_bytes) > 1:  # alone on the only GPU it need not be predicted
            loads = [self._load(gpu, running) for gpu in range(len(self._limits_bytes))]
            gpu = choose_gpu(self._peak(trial), loads)
        if gpu is None:
            return False
        self._chosen[trial.number] = gpu
        return True

    def gpu_of(self, trial: PackedTrial) -> int | None:
        """Where the trial was last said to fit; None where there is one GPU only."""
        return self._chosen.get(trial.number) if len(self._limits_bytes) > 1 else None

    def _load(self, gpu: int, running: Sequence[PackedTrial]) -> GpuLoad:
        here = [trial for trial in running if self._chosen.get(trial.number, 0) == gpu]
        # One of the workers that wait is the one that would run the trial.
        idle_bytes = max(0, self._count_idle(gpu) - 1) * FixedCosts().context_bytes
        return GpuLoad(
            limit_bytes=self._limits_bytes[gpu],
            beside=tuple(self._peak(trial) for trial in here),
            idle_bytes=idle_bytes,
            has_slot=self._slots_by_gpu is None or len(here) < self._slots_by_gpu[gpu],
        )


def make_gpu_packer(
    source: TaskSource, device: DeviceSpec, batch_size: int, executor: SearchExecutor
) -> GpuPacker | None:
    """None where trials do not share a memory that could be too small for them: on the CPU, one at a time on each GPU, and on a
    cluster, which places them itself."""
    if not device.is_gpu or max(executor.slots_by_gpu, default=1) == 1:
        return None
    limits: list[int | None] = executor.call_each(device_limit, device)
    known = [limit for limit in limits if limit is not None]
    if len(known) < len(limits):
        return None
    predict = _predictor(source, batch_size, executor, limit_bytes=min(known))
    return GpuPacker(known, predict, slots_by_gpu=executor.slots_by_gpu, count_idle=executor.num_idle)


def make_peak_predictions(source: TaskSource, batch_size: int, executor: SearchExecutor) -> PeakPredictions | None:
    """None where the executor does not ask what jobs take."""
    limit_bytes = executor.shared_gpu_bytes
    return (
        None
        if limit_bytes is None
        else PeakPredictions(_predictor(source, batch_size, executor, limit_bytes=limit_bytes))
    )


def _predictor(source: TaskSource, default_batch_size: int, executor: SearchExecutor, *, limit_bytes: int) -> Predict:
    def predict(trial: PackedTrial) -> int | None:
        split = {} if trial.gradient_accumulation is None else {"gradient_accumulation": trial.gradient_accumulation}
        params = {**trial.params, **split}
        batch_size = int(params.get("batch_size", default_batch_size))
        try:
            peak: int | None = executor.call_beside(predicted_peak, source, params, batch_size, limit_bytes)
        except ProbeError:  # the trial itself will say it better
            return None
        return peak

    return predict


def predicted_peak(
    source: TaskSource, params: Mapping[str, ParamValue], batch_size: int, limit_bytes: int
) -> int | None:
    """Bytes of the card that training with `params` takes at most, the process's context included; None where the training
    step cannot be traced. In a worker: tracing has crashed PyTorch before. Raises what the task's own code raises."""
    from probe.batch.prediction.build_memory_model import build_memory_model

    gpus = TargetGpus(memory_bytes=(limit_bytes,), bound=batch_size)  # so that this size is traced if it fits
    found = build_memory_model(source, params=dict(params), gpus=gpus, in_process=True)
    if isinstance(found, Untraceable):
        return None
    return found.simulate(batch_size, costs=FixedCosts.assumed(limit_bytes)).peak_bytes
