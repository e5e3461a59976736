"""How much of the host's memory this process holds."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def reset_peak_resident() -> None:
    """Let `peak_resident_bytes` start anew, where the system can (Linux: man 5 proc, clear_refs)."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")


def peak_resident_bytes() -> int | None:
    """Largest resident set since `reset_peak_resident`, or of the whole process; None where the system does not say."""
    with contextlib.suppress(OSError, ValueError):
        for line in _STATUS.read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "VmHWM":
                return int(rest.split()[0]) * 1024
    with contextlib.suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB elsewhere
    return None
