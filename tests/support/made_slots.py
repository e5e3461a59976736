"""GPUs and predicted peaks for tests of packing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from probe.errors import UserCodeError
from probe.search.executors.gpu_packing import GpuMemory, GpuPacker, Predict, measure_gpu
from probe.search.executors.protocol import Resources

GIB = 2**30


PEAKS = st.none() | st.integers(1, 20 * GIB)
CONTEXT_BYTES = 500 * 2**20


def make_packer(
    limits_bytes: Sequence[int],
    predict: Predict,
    *,
    slots_by_gpu: Sequence[int] = (),
    idle_by_gpu: Sequence[int] = (),
    offered_by_gpu: Sequence[int | None] = (),
) -> GpuPacker:
    """A packer for GPUs of these sizes; by default with enough slots and no idle workers."""
    num_gpus = len(limits_bytes)
    resources = Resources(
        slots_by_gpu=tuple(slots_by_gpu or [100] * num_gpus),
        idle_by_gpu=tuple(idle_by_gpu or [0] * num_gpus),
        held_by_gpu=(0,) * num_gpus,
        offered_by_gpu=tuple(offered_by_gpu or [None] * num_gpus),
    )
    gpus = [GpuMemory(offered_bytes=limit, context_bytes=CONTEXT_BYTES) for limit in limits_bytes]
    return GpuPacker(gpus, predict, resources=lambda: resources)


class PredictingExecutor:
    """Runs predictions in this process, as if it had GPUs."""

    slots_by_gpu: tuple[int, ...] = (2,)
    limits: tuple[int | None, ...] = (8 * GIB,)
    is_measured = True
    """Whether a worker has opened a GPU, so that its memory cannot be told from that of other programs."""

    @property
    def resources(self) -> Resources:
        num_gpus = len(self.slots_by_gpu)
        return Resources(
            slots_by_gpu=self.slots_by_gpu,
            idle_by_gpu=(1,) * num_gpus,
            held_by_gpu=(0,) * num_gpus,
            offered_by_gpu=(None,) * num_gpus,
        )

    def close_idle(self) -> None:
        self.is_measured = False

    def run(self, function: Callable[..., Any], *args: Any, on: str) -> Any:
        if on == "every_gpu":
            assert function is measure_gpu
            assert not self.is_measured
            self.is_measured = True
            return [limit and GpuMemory(offered_bytes=limit, context_bytes=CONTEXT_BYTES) for limit in self.limits]
        assert on == "beside"
        try:
            return function(*args)
        except ZeroDivisionError as error:
            raise UserCodeError(str(error), traceback="theirs") from None
