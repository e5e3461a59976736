"""Labelled lines, and how they are laid out on a terminal."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Sequence

from probe.cli.answers.tables import TextTable
from probe.units import format_count

Rows = list[tuple[str, str | TextTable]]
"""(label, text or table); an empty label goes on with the line above."""

LABEL_WIDTH = len("Evidence")
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:[KMGT]iB|B|%|s|ms|µs|min|h)(?!\w))")


def layout_rows(rows: Sequence[tuple[str, str | TextTable]], *, width: int | None = None) -> list[str]:
    """The rows as lines, their texts in one column, wrapped at `width`: the terminal's, but at most 100."""
    width = width or min(100, shutil.get_terminal_size().columns)
    indent = max(LABEL_WIDTH, *(len(label) for label, _ in rows)) + 2
    gpu_packer = max(20, width - indent)
    lines: list[str] = []
    for label, text in rows:
        parts = text.lines(gpu_packer) if isinstance(text, TextTable) else _wrap(text, gpu_packer)
        lines += [f"{label if number == 0 else '':<{indent}}{part}" for number, part in enumerate(parts)]
    return lines


def _wrap(text: str, width: int) -> list[str]:
    """Lines that never part a number from its unit."""
    joined = _BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", text)
    lines = textwrap.wrap(joined, width, break_long_words=False, break_on_hyphens=False) or [""]
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def labelled(label: str, lines: Sequence[str]) -> Rows:
    """The lines under one label."""
    return [(label if index == 0 else "", line) for index, line in enumerate(lines)]


def plural(count: float, noun: str) -> str:
    """`1 attempt`, `2 attempts`."""
    return f"{format_count(count)} {noun}{'' if count == 1 else 's'}"
