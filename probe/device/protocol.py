"""What probe needs of a device: its memory accounted for, a limit in force, a clock that can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from probe.records import DeviceMemory, MemoryReading

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
        """What it offers: its size, real, emulated or simulated, less what others hold; None where nothing is enforced or
        known."""

    @property
    def memory(self) -> DeviceMemory | None:
        """What was there when it was opened; None for the CPU."""

    @property
    def workspace_bytes(self) -> int | None:
        """What the library of matrix products keeps of the allocator's memory for itself; None where that is nothing,
        or more than there is."""

    def track(self) -> AbstractContextManager[None]:
        """Inside, allocations count and the limit is in force: past it torch.OutOfMemoryError is raised.

        What is allocated inside counts until it is freed, also outside. Outside, a device may count too (CUDA does) or not
        (the simulated one does not, so that timings taken there are those of the plain CPU).
        """

    def untracked(self) -> AbstractContextManager[None]:
        """Inside `track`: what is allocated on the host inside, like samples that a data set reads, does not count."""

    def synchronize(self) -> None:
        """Return when everything queued on the device is done."""

    def mark(self) -> Any:
        """A moment in the device's own order of work, taken without waiting for the device."""

    def seconds_between(self, marks: Sequence[Any]) -> tuple[float, ...]:
        """Seconds from each mark to the next, one fewer than there are marks. Waits for the device once."""

    def reset_peaks(self) -> None: ...

    def read_memory(self) -> MemoryReading | None:
        """Peaks since the last `reset_peaks`; None where nothing counts memory (plain CPU)."""

    def live_bytes(self) -> int | None:
        """Memory of all tensors that are alive now, None where nothing counts memory. Does not wait for the device."""

    def release(self) -> None:
        """Collect garbage and give cached memory back. Never called while an exception is being handled: its frames
        keep tensors alive (PyTorch FAQ, "My out of memory exception handler can't allocate memory")."""
