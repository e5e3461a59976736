"""Tables of plain text in the lines of an answer: aligned columns, as many of them as the terminal has room for."""

from __future__ import annotations

from dataclasses import dataclass

GAP = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """Cells of text under headings; numbers are set flush right."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_left: int = 0
    """Columns at the beginning that are set flush left."""
    optional: tuple[int, ...] = ()
    """Columns that are left out, the first of them first, where the whole is too wide."""

    def lines(self, width: int) -> list[str]:
        """At most `width` characters each, unless even without the optional columns there are more."""
        columns = list(range(len(self.header)))
        for column in (*self.optional, None):
            made = self._lines(columns)
            if column is None or max(map(len, made)) <= width:
                return made
            columns.remove(column)
        return made

    def _lines(self, columns: list[int]) -> list[str]:
        rows = [self.header, *self.rows]
        widths = {column: max(len(row[column]) for row in rows) for column in columns}
        return [
            GAP.join(self._cell(row[column], column, widths[column]) for column in columns).rstrip() for row in rows
        ]

    def _cell(self, text: str, column: int, width: int) -> str:
        return text.ljust(width) if column < self.num_left else text.rjust(width)
