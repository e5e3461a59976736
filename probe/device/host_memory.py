"""How much memory this machine has and has left, without a library for it."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

SHARE_FOR_TENSORS = 0.8
"""Of the free memory, for tensors of a probe on the CPU. The rest is for Python, code and the user's other programs: past
the end of memory a system swaps or kills."""

_CGROUP = Path("/sys/fs/cgroup")


def total_memory_bytes() -> int | None:
    """The machine's, or its container's; None where the system does not say."""
    known = [_meminfo_bytes("MemTotal"), _cgroup_limit_bytes(), _windows_memory_bytes("ullTotalPhys"), _sysconf_bytes()]
    return min((value for value in known if value is not None), default=None)


def free_memory_bytes() -> int | None:
    """What a new program may take without swapping, the container's limit respected.

    Where the system tells the total only (macOS), half of that is assumed free. None where it tells nothing.
    """
    known = [_meminfo_bytes("MemAvailable"), _windows_memory_bytes("ullAvailPhys")]
    limit, used = _cgroup_limit_bytes(), _cgroup_used_bytes()
    if limit is not None and used is not None:
        known.append(max(0, limit - used))
    free = min((value for value in known if value is not None), default=None)
    total = _sysconf_bytes()
    return total // 2 if free is None and total is not None else free


def _meminfo_bytes(key: str) -> int | None:
    """Linux: https://docs.kernel.org/filesystems/proc.html#meminfo (kB there are 1024 bytes)."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == key:
                return int(rest.split()[0]) * 1024
    return None


def _cgroup_limit_bytes() -> int | None:
    """The container's limit; version 2 says `max`, version 1 a number near 2^63, where there is none."""
    limit = _first_number(_CGROUP / "memory.max", _CGROUP / "memory" / "memory.limit_in_bytes")
    return limit if limit is not None and limit < 2**60 else None


def _cgroup_used_bytes() -> int | None:
    """Without the file cache that the kernel would give up first."""
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


def _sysconf_bytes() -> int | None:
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of sysinfoapi.h."""

    _fields_ = (
        ("dwLength", ctypes.c_ulong),
        ("dwMemoryLoad", ctypes.c_ulong),
        *(
            (name, ctypes.c_ulonglong)
            for name in (
                "ullTotalPhys",
                "ullAvailPhys",
                "ullTotalPageFile",
                "ullAvailPageFile",
                "ullTotalVirtual",
                "ullAvailVirtual",
                "ullAvailExtendedVirtual",
            )
        ),
    )


def _windows_memory_bytes(field: str) -> int | None:
    if os.name != "nt":
        return None
    status = _MemoryStatus()
    status.dwLength = ctypes.sizeof(status)
    found = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined,unused-ignore]  # Windows only
    return int(getattr(status, field)) if found else None
