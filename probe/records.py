"""What the results of all three probes share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SCHEMA_VERSION = 1
"""Of `result.json` and `--json`. Raised when a key is renamed or removed; adding keys keeps it."""

DEFAULT_BATCH_SIZE = 64
"""Of a Task and of a training that name none."""

Precision = Literal["fp32", "tf32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReading:
    """A device's memory during one measurement. Peaks are maxima over all of its phases."""

    peak_allocated_bytes: int
    """Largest sum of live tensors."""
    peak_reserved_bytes: int
    """Largest amount that the caching allocator held; equals the allocated peak where there is none."""
    device_used_bytes: int | None = None
    """Used on the whole device, other processes and the CUDA context included (NVML); None where nobody can say."""
    device_total_bytes: int | None = None
    """The device's size, or the simulated limit."""
    num_alloc_retries: int = 0
    """How often the allocator had to empty its cache to serve a request: a sign of thrashing."""

    def __post_init__(self) -> None:
        if not 0 <= self.peak_allocated_bytes <= self.peak_reserved_bytes:
            raise ValueError(
                f"allocated peak {self.peak_allocated_bytes} must lie between 0 and reserved peak {self.peak_reserved_bytes}"
            )


def larger_peak(one: MemoryReading | None, other: MemoryReading | None) -> MemoryReading | None:
    """The reading with the larger peak of reserved memory; None counts as no reading."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda reading: reading.peak_reserved_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOrigin:
    """What asked for a run."""

    argv: tuple[str, ...] = ()
    """The command line; empty if the run was started from Python."""
    recipe_hash: str | None = None
    """Hash of the recipe's content; None without a recipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMeta:
    """Where, when and with what a result was measured."""

    probe_version: str
    python_version: str
    torch_version: str
    cuda_version: str | None
    driver_version: str | None
    platform: str
    device: str
    num_threads: int
    seed: int
    argv: tuple[str, ...]
    recipe_hash: str | None
    started_at: str
    """UTC, ISO 8601."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUser:
    """Another process that holds memory of a device."""

    pid: int
    name: str | None
    used_bytes: int | None
    """None where the driver does not say (inside containers, on Windows)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """A CUDA device's memory before anything was trained on it."""

    total_bytes: int
    """The whole device's, or the MIG slice's."""
    others_bytes: int
    """Taken before this process came: by other processes and by the driver; 0 where nobody can say (no NVML)."""
    others: tuple[MemoryUser, ...]
    context_bytes: int
    """Of this process's CUDA context."""
    context_is_measured: bool
    emulated_bytes: int | None
    """The size of the smaller card that the device stands in for."""
    is_integrated: bool
    """Its memory is the host's."""

    @property
    def offered_bytes(self) -> int:
        """What is left for this process, its context included: others' share is subtracted."""
        free = self.total_bytes - self.others_bytes
        return free if self.emulated_bytes is None else min(self.emulated_bytes, free)
