"""The summary of a result: what a command prints at its end and what the top of its report says.

A summary is plain text. `probe.report.shared.markdown` renders it for the report, `probe.cli.answers` for a terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells of text under headings."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_left: int = 0
    """Number of leading columns that are aligned left; the others hold numbers and are aligned right."""
    optional: tuple[int, ...] = ()
    """Columns that a narrow terminal leaves out, in this order."""


Line = tuple[str, str | Table]
"""A label and a text or a table; an empty label continues the line above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The answer and what supports it."""

    answer: str
    """One sentence without capital letter and full stop."""
    lines: tuple[Line, ...]
    """Evidence, warnings, cost, and what to do next."""


def labelled(label: str, contents: Sequence[str | Table | None]) -> list[Line]:
    """The texts and tables that are not None, under one label."""
    given = [content for content in contents if content is not None]
    return [(label if index == 0 else "", content) for index, content in enumerate(given)]
