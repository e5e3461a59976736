"""Parses and formats bytes, seconds, counts and learning rates. Nothing else in probe formats numbers."""

from __future__ import annotations

import math
import re
from decimal import Decimal

from probe.errors import UsageError

_BYTE_UNITS = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_BYTE_UNITS |= {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SECOND_UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zA-Z]*)\s*")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zA-Z]*)\s*")
MAX_SECONDS = 10 * 366 * 86_400.0
"""Longest duration: ten years."""
_FOUR_DIGITS = 999.5
"""Smallest number that has four digits when it is rounded to three figures."""


def parse_bytes(text: str) -> int:
    """Parse an amount of memory in bytes: `8GiB`, `512MiB`, `1.5g`, `1048576`. GiB = 2^30, GB = 10^9, g = GiB. Raises
    UsageError for anything else, for less than one byte and for 2^63 bytes or more."""
    match = _NUMBER_AND_UNIT.fullmatch(text)
    unit = match.group(2).lower() if match else None
    if match is None or unit not in _BYTE_UNITS:
        raise UsageError(
            f"'{text}' is not an amount of memory.", hint="Write a number and a unit, like 512MiB or 8GiB."
        )
    num_bytes = int(Decimal(match.group(1)) * _BYTE_UNITS[unit])
    if num_bytes < 1:
        raise UsageError(f"An amount of memory must be at least one byte, not '{text}'.")
    if num_bytes >= 2**63:
        raise UsageError(f"'{text}' is more memory than any machine can address.", hint="Write an amount like 8GiB.")
    return num_bytes


def parse_seconds(text: str) -> float:
    """Parse a duration in seconds: `90`, `90s`, `2m`, `1h30m`, `1.5h`. Raises UsageError unless it is positive and at most
    MAX_SECONDS."""
    parts = _DURATION_PART.findall(text.strip())
    whole = "".join(_DURATION_PART.sub("", text.strip()).split())
    units = [unit.lower() for _, unit in parts]
    if not parts or whole or any(unit not in _SECOND_UNITS for unit in units) or ("" in units and len(parts) > 1):
        raise UsageError(f"'{text}' is not a duration.", hint="Write a number and a unit, like 90s, 2m or 1h30m.")
    seconds = sum(float(number) * _SECOND_UNITS[unit.lower()] for number, unit in parts)
    if seconds <= 0:
        raise UsageError(f"A duration must be longer than zero, not '{text}'.")
    if seconds > MAX_SECONDS:
        raise UsageError(f"'{text}' is too long a duration.", hint="Remove it if you want no limit.")
    return seconds


def format_bytes(num_bytes: int | float) -> str:
    """Format bytes with three significant figures, in the smallest unit with at most three digits: `1.25 GiB`, `998 KiB`."""
    unit, size = byte_unit(num_bytes)
    value = num_bytes / size
    return f"{value:.0f} B" if size == 1 else f"{_three_figures(value)} {unit}"


def format_gpu_memory(num_bytes: int) -> str:
    """Format the memory of a GPU or a memory limit, without decimals if it is a round number: `8 GiB`, `1.50 GiB`."""
    unit, size = byte_unit(num_bytes)
    return f"{num_bytes // size} {unit}" if num_bytes % size == 0 else format_bytes(num_bytes)


def byte_unit(num_bytes: int | float) -> tuple[str, int]:
    """Name and size of the unit that `format_bytes` uses, for axes and columns that share one unit."""
    size = 1
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(num_bytes) / size < _FOUR_DIGITS:
            return unit, size
        size *= 1024
    return "TiB", size


def format_seconds(seconds: float) -> str:
    """Format a duration: `12.3 ms`, `4.56 s`, `2 min 05 s`, `1 h 02 min`."""
    if seconds < 0:
        return f"-{format_seconds(-seconds)}"
    if seconds == 0:
        return "0 s"
    if seconds * 1e6 < _FOUR_DIGITS:
        return f"{_three_figures(seconds * 1e6)} µs"
    if seconds * 1e3 < _FOUR_DIGITS:
        return f"{_three_figures(seconds * 1e3)} ms"
    if seconds < 59.95:
        return f"{_three_figures(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def format_count(count: int | float) -> str:
    """Format a count or a rate, with thousands separators; large rates without decimals: `12,345`, `3.46`."""
    if isinstance(count, int) or count == int(count) or abs(count) >= _FOUR_DIGITS:
        return f"{round(count):,}"
    return _three_figures(count)


def format_count_of(count: int, noun: str, plural: str | None = None) -> str:
    """Format a count with its noun: `1 epoch`, `12,345 epochs`. `plural` defaults to the noun with an s."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def format_lr(lr: float) -> str:
    """Format a learning rate with three figures: `0.0316`, `1.2e-05`."""
    return f"{lr:.3g}"


def format_percent(fraction: float, *, decimals: int = 2) -> str:
    """Format a fraction as a percentage: `0.9833` -> `98.33 %`."""
    return f"{100 * fraction:.{decimals}f} %"


def format_value(value: bool | int | float | str) -> str:
    """Format a loss, a metric or a hyperparameter: `0.98333` -> `0.9833`. Booleans are written as in a recipe: `true`."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _three_figures(value: float) -> str:
    """`9.996` -> `10.0`. Rounds first, because rounding may add a digit."""
    rounded = float(f"{value:.2e}")
    if rounded == 0:
        return "0"
    return f"{rounded:.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"
