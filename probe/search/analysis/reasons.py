"""The one-line reason in a message that may be a whole traceback. Pure."""

from __future__ import annotations

_HEADER = "Traceback (most recent call last):"
MAX_WHOLE_LINES = 3
"""Of a longer error, only the first line, which names it, and the last, often its cause, are kept."""


def reason(message: str) -> str:
    """Return the error at the end of a traceback, or the message itself, as one line."""
    _, is_traceback, after = message.rpartition(_HEADER)
    lines = [line.rstrip() for line in after.splitlines() if line.strip()]
    if is_traceback:
        error = _without_frames(lines)
        lines = error or lines[-1:]
    parts = [line.strip() for line in lines]
    return " ".join(parts) if len(parts) <= MAX_WHOLE_LINES else f"{parts[0]} ... {parts[-1]}"


def _without_frames(lines: list[str]) -> list[str]:
    """The lines after the frames, which are indented. Lines of the error itself may be indented as well."""
    for number, line in enumerate(lines):
        if not line[0].isspace():
            return lines[number:]
    return []
