"""Memory of this machine, within the limits of its container."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def total_memory_bytes() -> int:
    """Memory of the machine, or the limit of its container if that is smaller."""
    total, limit = int(psutil.virtual_memory().total), _cgroup_limit_bytes()
    return total if limit is None else min(total, limit)


def free_memory_bytes() -> int:
    """Memory that a new program can use without swapping, within the limit of the container."""
    free = int(psutil.virtual_memory().available)
    limit, used = _cgroup_limit_bytes(), _cgroup_used_bytes()
    return free if limit is None or used is None else min(free, max(0, limit - used))


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
