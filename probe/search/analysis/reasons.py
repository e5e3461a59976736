"""Why a trial has no value, in one line, from a message that may be a whole traceback. Pure."""

from __future__ import annotations

_HEADER = "Traceback (most recent call last):"
MAX_WHOLE_LINES = 3
"""Of an error with more lines, the first and the last one are kept: the first names the error, the last is often its cause."""


def reason(message: str) -> str:
    """The error at the end of a traceback, or the message itself, as one line that is never cut off."""
    _, is_traceback, after = message.rpartition(_HEADER)
    lines = [line.rstrip() for line in after.splitlines() if line.strip()]
    if is_traceback:
        error = _without_frames(lines)
        lines = error or lines[-1:]
    parts = [line.strip() for line in lines]
    return " ".join(parts) if len(parts) <= MAX_WHOLE_LINES else f"{parts[0]} ... {parts[-1]}"


def _without_frames(lines: list[str]) -> list[str]:
    """What follows the frames, which are indented; lines of the error itself may be, too."""
    for number, line in enumerate(lines):
        if not line[0].isspace():
            return lines[number:]
    return []
