"""The protocol of an open device, and the description of a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from probe.records import DeviceMemory, MemoryReading, Precision

if TYPE_CHECKING:
    import torch


class Device(Protocol):
    """An open device: it counts memory, enforces a limit and measures time. Implementations pass `DeviceConformance`."""

    @property
    def name(self) -> str:
        """Name for people: `NVIDIA H200 (cuda:0)`, `CPU under a simulated limit of 1 GiB`."""

    @property
    def torch_device(self) -> torch.device: ...

    @property
    def is_gpu(self) -> bool:
        """Whether it has memory of its own, separate from the memory of the data sets."""

    @property
    def is_asynchronous(self) -> bool:
        """Whether operators return before they are done, so that reading a value waits for the device."""

    @property
    def limit_bytes(self) -> int | None:
        """Memory for this process: the real, emulated or simulated size, less what other processes use. None if nothing is
        enforced, or if the size of a GPU is unknown."""

    @property
    def memory(self) -> DeviceMemory | None:
        """State of the GPU's memory when it was opened, or None if it is not a GPU or its size is unknown."""

    @property
    def workspace_bytes(self) -> int | None:
        """Memory that one handle of the matrix library takes from the allocator and keeps (each thread that multiplies has a
        handle), or None if it takes none or cannot get it."""

    def warnings(self, precision: Precision) -> tuple[str, ...]:
        """Sentences for reports about training on this device in this precision."""

    def track(self) -> AbstractContextManager[None]:
        """Count allocations and enforce the limit inside the context. Past the limit torch.OutOfMemoryError is raised. Memory
        that is allocated inside counts until it is freed, even after the context. Allocations outside count on a GPU; on a
        simulated device they do not, so that time is measured at the speed of the plain CPU."""

    def untracked(self) -> AbstractContextManager[None]:
        """Inside `track`: do not count host allocations, like samples that a data set reads."""

    def synchronize(self) -> None:
        """Wait until all queued work is done."""

    def mark(self) -> Any:
        """Record a point in the device's queue of work without waiting for it."""

    def seconds_between(self, marks: Sequence[Any]) -> tuple[float, ...]:
        """Seconds from each mark to the next, one value fewer than there are marks. Waits for the device once."""

    def reset_peaks(self) -> None:
        """Restart the measurement of peaks at the memory in use now."""

    def read_memory(self) -> MemoryReading | None:
        """Peaks since the last `reset_peaks`, or None if the device does not count memory."""

    def num_alloc_retries(self) -> int:
        """Number of times since the last `reset_peaks` that the allocator emptied its cache to serve a request, without waiting
        for the device; 0 without a cache."""

    def live_bytes(self) -> int | None:
        """Memory of all live tensors without waiting for the device, or None if it does not count memory."""

    def release(self) -> None:
        """Collect garbage and free cached memory. Do not call it while an exception is handled: its frames keep tensors
        alive (PyTorch FAQ, "My out of memory exception handler can't allocate memory")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReport:
    """One GPU that PyTorch can use."""

    device: str
    """Name for --device, in PyTorch's numbering: `cuda:0`."""
    name: str
    total_bytes: int | None = None
    free_bytes: int | None = None
    """Free memory. Both are None if they are unknown without creating a context on the GPU."""
    users: tuple[str, ...] = ()
    """Processes known to use its memory: `python 1234 (2.50 GiB)`."""
    problem: str | None = None
    """Why PyTorch cannot compute on it, as a clause, or None if it can."""
    untested: str | None = None
    """Name of its kind, like `XPU devices`, if probe has not been tested on a real one; None if it has."""


def untested_text(kind: str) -> str:
    """The warning about a kind of GPUs."""
    return f"probe has not been tested on real {kind}: check what it measures before you rely on it."
