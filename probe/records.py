"""Records that several kinds of results share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SCHEMA_VERSION = 1
"""Version of the keys of `result.json` and `--json`. Increased when a key is renamed or removed, not when one is added."""

DEFAULT_BATCH_SIZE = 64
"""Batch size of a Task or a training that does not set one."""

Precision = Literal["fp32", "tf32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReading:
    """Memory of a device during one measurement. Peaks are maxima over all phases."""

    peak_allocated_bytes: int
    """Largest total size of live tensors."""
    peak_reserved_bytes: int
    """Largest size of the caching allocator; equal to the allocated peak without such an allocator."""
    device_used_bytes: int | None = None
    """Memory in use on the whole device, including other processes and contexts, or None if unknown."""
    device_total_bytes: int | None = None
    """Size of the device, or the simulated limit."""
    num_alloc_retries: int = 0
    """Number of times that the allocator emptied its cache to serve a request: a sign of thrashing."""

    def __post_init__(self) -> None:
        if not 0 <= self.peak_allocated_bytes <= self.peak_reserved_bytes:
            raise ValueError(
                f"allocated peak {self.peak_allocated_bytes} must be between 0 and the reserved peak {self.peak_reserved_bytes}"
            )


def larger_peak(one: MemoryReading | None, other: MemoryReading | None) -> MemoryReading | None:
    """The reading with the larger reserved peak; None is ignored."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda reading: reading.peak_reserved_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOrigin:
    """Origin of a run."""

    argv: tuple[str, ...] = ()
    """Command line; empty if the run was started from Python."""
    recipe_hash: str | None = None
    """Hash of the recipe, or None without a recipe."""
    run_id: str | None = None
    """Random id of a search that can be resumed, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMeta:
    """Environment, time and seed of a measurement."""

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
    """Start time in UTC, ISO 8601."""
    run_id: str | None = None
    """Random id of a search, equal in all of its sessions; None for other runs and without a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUser:
    """Another process that uses memory of a device."""

    pid: int
    name: str | None
    used_bytes: int | None
    """Memory in use, or None if the driver does not report it (in containers, on Windows)."""


ASSUMED_CONTEXT_BYTES = 512 * 2**20
"""Assumed size of a process's context on a GPU where it cannot be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """Memory of a GPU before training."""

    total_bytes: int
    """Size of the device, or of the MIG slice."""
    others_bytes: int
    """Memory used by other processes and by the driver when this process opened the device."""
    others: tuple[MemoryUser, ...]
    context_bytes: int
    """Size of the context of this process, with its first kernels."""
    context_is_measured: bool
    emulated_bytes: int | None
    """Size of the smaller GPU that the device emulates, or None."""
    is_integrated: bool
    """Whether the GPU shares the memory of the host."""

    @property
    def size_bytes(self) -> int:
        """The total, or the emulated size. Unlike `offered_bytes`, it is the same in every process."""
        return self.total_bytes if self.emulated_bytes is None else self.emulated_bytes

    @property
    def offered_bytes(self) -> int:
        """Memory for this process, including its context: `size_bytes`, or less if others use more than the rest."""
        return min(self.size_bytes, self.total_bytes - self.others_bytes)

    def spilled_bytes(self, reserved_bytes: int) -> int:
        """Bytes that a driver which never refuses an allocation (Windows, WSL2, integrated GPUs) keeps in the host's memory,
        given what the allocator has reserved. An assumed context may be too large and is not counted."""
        context_bytes = self.context_bytes if self.context_is_measured else 0
        return max(0, reserved_bytes + context_bytes - self.offered_bytes)
