"""What a command prints at its end: labelled lines and tables, laid out in one column for the terminal."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from probe.cli.terminal import echo
from probe.printable import one_line
from probe.report.shared.summary import Line, Table

if TYPE_CHECKING:
    from probe.report.kinds import Result

LABEL_WIDTH = len("Evidence")
MAX_WIDTH = 100
MIN_TEXT_WIDTH = 20
GAP = "  "
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:[KMGT]iB|B|%|s|ms|µs|min|h)(?!\w))")


def print_lines(lines: Sequence[Line], *, err: bool = False) -> None:
    """Print labelled lines to stdout or stderr."""
    for line in layout_lines(lines):
        echo(line, err=err)


def answer_lines(result: Result) -> list[Line]:
    """The answer and what supports it, without the place of the report."""
    from probe.report.kinds import kind_of

    summary = kind_of(result).summarize(result)
    return [("Answer", summary.answer), *summary.lines]


def layout_lines(lines: Sequence[Line], *, width: int | None = None) -> list[str]:
    """Lay out labelled lines with their texts in one column; `width` is by default that of the terminal, at most MAX_WIDTH."""
    width = width or min(MAX_WIDTH, shutil.get_terminal_size().columns)
    indent = max(LABEL_WIDTH, *(len(label) for label, _ in lines)) + 2
    text_width = max(MIN_TEXT_WIDTH, width - indent)
    made: list[str] = []
    for label, content in lines:
        parts = table_lines(content, text_width) if isinstance(content, Table) else _wrap(content, text_width)
        made += [f"{label if number == 0 else '':<{indent}}{part}" for number, part in enumerate(parts)]
    return made


def table_lines(table: Table, width: int) -> list[str]:
    """A table in aligned columns; optional columns are left out until it fits in `width` characters."""
    columns = list(range(len(table.header)))
    for column in (*table.optional, None):
        made = _columns(table, columns)
        if column is None or max(map(cell_len, made)) <= width:
            return made
        columns.remove(column)
    return made


def _columns(table: Table, columns: Sequence[int]) -> list[str]:
    rows = [[one_line(row[column]) for column in columns] for row in (table.header, *table.rows)]
    widths = [max(map(cell_len, cells)) for cells in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        pads = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = [
            cell + pad if column < table.num_left else pad + cell
            for column, cell, pad in zip(columns, row, pads, strict=True)
        ]
        lines.append(GAP.join(cells).rstrip())
    return lines


def _wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters that do not separate a number from its unit."""
    joined = _BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", one_line(text))
    lines = textwrap.wrap(joined, width, break_long_words=False, break_on_hyphens=False) or [""]
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]
