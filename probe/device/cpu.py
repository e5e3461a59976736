"""The plain CPU: nothing is counted, nothing is enforced, nothing is slowed down."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise

import torch

from probe.records import MemoryReading


class CpuDevice:
    """For range tests, trials and final fits. Batch probes use SimulatedDevice, which knows the peaks."""

    name = "CPU"
    torch_device = torch.device("cpu")
    memory = None
    workspace_bytes = None
    limit_bytes = None

    @contextmanager
    def track(self) -> Iterator[None]:
        yield

    def untracked(self) -> AbstractContextManager[None]:
        return nullcontext()

    def synchronize(self) -> None:
        """Work on the CPU is done when its call returns."""

    def mark(self) -> float:
        return time.perf_counter()

    def seconds_between(self, marks: Sequence[float]) -> tuple[float, ...]:
        return tuple(after - before for before, after in pairwise(marks))

    def reset_peaks(self) -> None:
        """There are none."""

    def read_memory(self) -> MemoryReading | None:
        """None: the allocator of the CPU keeps no peaks, and the process's resident memory is not that of its tensors."""
        return None

    def live_bytes(self) -> int | None:
        """None: nothing counts."""
        return None

    def release(self) -> None:
        gc.collect()
