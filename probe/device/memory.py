"""Memory and cores of this machine, within the limits of its container, and the memory of this process."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import psutil

from probe.errors import DeviceError
from probe.units import format_bytes

FRACTION_FOR_TENSORS = 0.8
"""Fraction of the free memory that a batch probe on the CPU may use. The rest is left to Python and to other programs, because
a system that runs out of memory swaps or kills processes."""

_CGROUP = Path("/sys/fs/cgroup")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def total_memory_bytes() -> int:
    """Memory of the machine, or the limit of its container if that is smaller."""
    total, limit = int(psutil.virtual_memory().total), _cgroup_limit_bytes()
    return total if limit is None else min(total, limit)


def free_memory_bytes() -> int:
    """Memory that a new program can use without swapping, within the limit of the container."""
    free = int(psutil.virtual_memory().available)
    limit, used = _cgroup_limit_bytes(), _cgroup_used_bytes()
    return free if limit is None or used is None else min(free, max(0, limit - used))


def check_limit(limit_bytes: int | None) -> int:
    """The limit of a simulated device in bytes. The default is a fraction of the free memory, which is also the largest one.

    Raises DeviceError if the limit is larger.
    """
    free = free_memory_bytes()
    most = int(free * FRACTION_FOR_TENSORS)
    if limit_bytes is None or limit_bytes <= most:
        return limit_bytes or most
    raise DeviceError(
        f"A simulated limit of {format_bytes(limit_bytes)} is too large for this machine, which has {format_bytes(free)} "
        "of free memory.",
        hint=f"Simulate at most {format_bytes(most)}; {1 - FRACTION_FOR_TENSORS:.0%} is left to other programs.",
    )


def num_cores() -> int:
    """Logical cores that this process may use; a container or `taskset` may allow fewer than the machine has."""
    with contextlib.suppress(AttributeError):  # macOS has no affinity
        return len(psutil.Process().cpu_affinity() or ()) or 1
    return psutil.cpu_count() or 1


def reset_peak_resident() -> None:
    """Restart the measurement of `peak_resident_bytes`. Linux only (man 5 proc, clear_refs); no effect elsewhere."""
    with contextlib.suppress(OSError):
        _CLEAR_REFS.write_text("5")


def peak_resident_bytes() -> int | None:
    """Largest resident set of this process since `reset_peak_resident`, or since its start if it cannot be reset.

    Returns None if the system does not report it (Windows).
    """
    with contextlib.suppress(OSError, ValueError):
        for line in _STATUS.read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "VmHWM":
                return int(rest.split()[0]) * 1024
    with contextlib.suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB elsewhere
    return None


def _cgroup_limit_bytes() -> int | None:
    """Memory limit of the container, or None. Without a limit, version 2 holds `max` and version 1 a number near 2^63."""
    limit = _first_number(_CGROUP / "memory.max", _CGROUP / "memory" / "memory.limit_in_bytes")
    return limit if limit is not None and limit < 2**60 else None


def _cgroup_used_bytes() -> int | None:
    """Memory used by the container, without the file cache that the kernel frees first."""
    used = _first_number(_CGROUP / "memory.current", _CGROUP / "memory" / "memory.usage_in_bytes")
    if used is None:
        return None
    for stat in (_CGROUP / "memory.stat", _CGROUP / "memory" / "memory.stat"):
        with contextlib.suppress(OSError, ValueError):
            for line in stat.read_text().splitlines():
                if line.startswith(("inactive_file ", "total_inactive_file ")):
                    return max(0, used - int(line.split()[1]))
    return used


def _first_number(*files: Path) -> int | None:
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            return int(file.read_text())
    return None
