"""The plain CPU: memory is neither counted nor limited."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from itertools import pairwise

import torch

from probe.device.environment import check_limit
from probe.device.select import DeviceSpec
from probe.records import MemoryReading, Precision


class CpuDevice:
    """For range tests, trials and the final training. Batch probes use SimulatedDevice, which counts memory."""

    name: str = "CPU"
    torch_device = torch.device("cpu")
    is_gpu = False
    is_asynchronous = False
    memory = None
    workspace_bytes = None
    limit_bytes: int | None = None

    def warnings(self, precision: Precision) -> tuple[str, ...]:
        return ()

    @contextmanager
    def track(self) -> Iterator[None]:
        yield

    def untracked(self) -> AbstractContextManager[None]:
        return nullcontext()

    def synchronize(self) -> None:
        """Do nothing: operators on the CPU return when they are done."""

    def mark(self) -> float:
        return time.perf_counter()

    def seconds_between(self, marks: Sequence[float]) -> tuple[float, ...]:
        return tuple(after - before for before, after in pairwise(marks))

    def reset_peaks(self) -> None:
        """Do nothing: peaks are not measured."""

    def read_memory(self) -> MemoryReading | None:
        """None: the CPU's allocator keeps no peaks, and the resident memory of the process includes more than tensors."""
        return None

    def num_alloc_retries(self) -> int:
        return 0

    def live_bytes(self) -> int | None:
        return None

    def release(self) -> None:
        gc.collect()


def resolve(spec: DeviceSpec, *, measuring_memory: bool) -> DeviceSpec:
    """The CPU itself, or a simulated device with a limit if memory is measured. Raises DeviceError if it is too large."""
    if not measuring_memory:
        return spec
    return replace(spec, kind="simulated", limit_bytes=check_limit(spec.limit_bytes))


def open_device(spec: DeviceSpec) -> CpuDevice:
    return CpuDevice()
