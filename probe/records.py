"""What the results of all three probes share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SCHEMA_VERSION = 1
"""Of `result.json` and `--json`. Raised when a key is renamed or removed; adding keys keeps it."""

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
