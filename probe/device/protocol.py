"""What probe needs of a device: its memory accounted for, a limit in force, a clock that can be trusted."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from probe.records import MemoryReading

if TYPE_CHECKING:
    import torch


class Device(Protocol):
    """One device of one process. Implementations pass tests/device/conformance.py."""

    @property
    def name(self) -> str:
        """For people: `NVIDIA H200 (cuda:0)`, `CPU under a simulated limit of 1 GiB`."""

    @property
    def torch_device(self) -> torch.device: ...

    @property
    def limit_bytes(self) -> int | None:
        """What tensors may take in all; None where nothing is enforced or known."""

    def track(self) -> AbstractContextManager[None]:
        """Inside, allocations count and the limit is in force: past it torch.OutOfMemoryError is raised."""

    def synchronize(self) -> None:
        """Return when everything queued on the device is done."""

    def reset_peaks(self) -> None: ...

    def read_memory(self) -> MemoryReading:
        """Peaks since the last `reset_peaks`."""

    def release(self) -> None:
        """Collect garbage and give cached memory back. Never called while an exception is being handled: its frames
        keep tensors alive (PyTorch FAQ, "My out of memory exception handler can't allocate memory")."""
