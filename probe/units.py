"""Bytes, seconds, counts and learning rates as people read and type them. Nothing else in probe formats a number."""

from __future__ import annotations

import math
import re

from probe.errors import UsageError

_BYTE_UNITS = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_BYTE_UNITS |= {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SECOND_UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zA-Z]*)\s*")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zA-Z]*)\s*")


def parse_bytes(text: str) -> int:
    """`8GiB`, `512MiB`, `1.5g`, `1048576` -> bytes. GiB = 2^30, GB = 10^9, g = GiB.

    Raises UsageError for anything else, and for less than one byte.
    """
    match = _NUMBER_AND_UNIT.fullmatch(text)
    unit = match.group(2).lower() if match else None
    if match is None or unit not in _BYTE_UNITS:
        raise UsageError(
            f"'{text}' is not an amount of memory.", hint="Write a number and a unit, like 512MiB or 8GiB."
        )
    num_bytes = int(float(match.group(1)) * _BYTE_UNITS[unit])
    if num_bytes < 1:
        raise UsageError(f"An amount of memory must be at least one byte, '{text}' is not.")
    return num_bytes


def parse_seconds(text: str) -> float:
    """`90`, `90s`, `2m`, `1h30m`, `1.5h` -> seconds. Raises UsageError for anything else, and for zero."""
    parts = _DURATION_PART.findall(text.strip())
    whole = "".join(_DURATION_PART.sub("", text.strip()).split())
    units = [unit.lower() for _, unit in parts]
    if not parts or whole or any(unit not in _SECOND_UNITS for unit in units) or ("" in units and len(parts) > 1):
        raise UsageError(f"'{text}' is not a duration.", hint="Write a number and a unit, like 90s, 2m or 1h30m.")
    seconds = sum(float(number) * _SECOND_UNITS[unit.lower()] for number, unit in parts)
    if seconds <= 0:
        raise UsageError(f"A duration must be longer than zero, '{text}' is not.")
    return seconds


def format_bytes(num_bytes: int | float) -> str:
    """Three significant figures in the largest binary unit that keeps the number at 1 or more: `1.25 GiB`."""
    size = float(num_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{_three_figures(size)} {unit}"
        size /= 1024
    return f"{_three_figures(size)} TiB"


def format_seconds(seconds: float) -> str:
    """`12.3 ms`, `4.56 s`, `2 min 05 s`, `1 h 02 min`."""
    if seconds < 0:
        return f"-{format_seconds(-seconds)}"
    if seconds < 1e-3:
        return f"{_three_figures(seconds * 1e6)} µs"
    if seconds < 1:
        return f"{_three_figures(seconds * 1e3)} ms"
    if seconds < 59.95:
        return f"{_three_figures(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def format_count(count: int | float) -> str:
    """Whole numbers with thousands separators; large rates without decimals: `12,345`, `3.46`."""
    if isinstance(count, int) or count == int(count) or abs(count) >= 1000:
        return f"{round(count):,}"
    return _three_figures(count)


def format_lr(lr: float) -> str:
    """A learning rate with three figures, in powers of ten where that reads better: `0.0316`, `1.2e-05`."""
    return f"{lr:.3g}"


def format_share(share: float) -> str:
    """`0.9833` -> `98.33 %`."""
    return f"{100 * share:.2f} %"


def _three_figures(value: float) -> str:
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"
