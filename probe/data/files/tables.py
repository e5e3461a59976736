"""CSV files as columns of cells. Errors name the file, the line and the column.

Uses the reader of the standard library, because importing pandas costs every worker process a second.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probe.errors import DataError, check_known, near_misses
from probe.files import read_text, reason, relative_hint
from probe.units import format_count_of

_DELIMITERS = (",", ";", "\t")
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
"""Texts of a missing number, in lower case. In a column of texts, only an empty cell is missing: NA may be a category."""
_IGNORE = 'ignore the column with data_options = {{ ignore = ["{column}"] }}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The cells of a table as text, column by column."""

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]
    """Number of the line, from 1, on which each row ends."""

    @property
    def num_rows(self) -> int:
        return len(self.lines)

    def where(self, row: int, column: str) -> str:
        return f"{self.path}, line {self.lines[row]}, column '{column}'"

    def without(self, columns: Iterable[str]) -> Table:
        """The table without some columns. Raises DataError if one does not exist."""
        dropped = {self.check_column(column) for column in columns}
        kept = {name: cells for name, cells in self.columns.items() if name not in dropped}
        return Table(path=self.path, columns=kept, lines=self.lines)

    def check_column(self, name: str) -> str:
        """Return `name`. Raises DataError with similar names if there is no such column."""
        check_known(DataError, f"column of {self.path}:", name, list(self.columns))
        return name

    def find_target(self, name: str | None) -> str:
        """Name of the target column; by default the last one."""
        return list(self.columns)[-1] if name is None else self.check_column(name)

    def numbers(self, column: str) -> np.ndarray:
        """A column as float64. Raises DataError for the first cell that is missing or not a finite number."""
        cells = self.columns[column]
        values = np.array([_number(cell) for cell in cells])
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad) == 0:
            return values
        row, more = int(bad[0]), _and_more(len(bad) - 1, column)
        if _is_missing(cells[row]):
            raise self._missing(row, column, more)
        raise DataError(
            f"{self.where(row, column)}: '{cells[row]}' is not a number, but the column holds numbers{more}.",
            hint=_not_a_number_hint(cells[row], column),
        )

    def texts(self, column: str) -> list[str]:
        """The cells of a column. Raises DataError for the first empty one."""
        cells = self.columns[column]
        empty = [row for row, cell in enumerate(cells) if not cell]
        if empty:
            raise self._missing(empty[0], column, _and_more(len(empty) - 1, column))
        return cells

    def is_numeric(self, column: str) -> bool:
        """Whether most cells of a column that are not missing are numbers."""
        cells = [cell for cell in self.columns[column] if not _is_missing(cell)]
        return 2 * sum(not math.isnan(_number(cell)) for cell in cells) > len(cells)

    def _missing(self, row: int, column: str, more: str) -> DataError:
        written = f" ('{self.columns[column][row]}')" if self.columns[column][row] else ""
        return DataError(
            f"{self.where(row, column)}: the value is missing{written}{more}.",
            hint=f"Fill it in, delete the line, or {_IGNORE.format(column=column)}.",
        )


def read_table(path: Path) -> Table:
    """Read a CSV file in UTF-8, with column names on the first line and commas, semicolons or tabs as separators. Raises
    DataError if the file is missing, empty or not such a table."""
    text = _read_text(path)
    if not text.strip():
        raise DataError(
            f"{path} is empty.", hint="The first line must have the column names, and every other line a sample."
        )
    first = text.lstrip().split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if row:  # skip blank lines
                rows.append([cell.strip() for cell in row])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV: {error}.") from None
    header = _check_header(path, rows[0], delimiter)
    for row, line in zip(rows[1:], lines[1:], strict=True):
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {line}: has {format_count_of(len(row), 'cell')}, but the first line names "
                f"{format_count_of(len(header), 'column')}.",
                hint=f"Cells are separated by {_delimiter_word(delimiter)}; put a cell that contains one in double quotes.",
            )
    if len(rows) == 1:
        raise DataError(f"{path} has no rows below the column names.")
    columns = {name: [row[place] for row in rows[1:]] for place, name in enumerate(header)}
    return Table(path=path, columns=columns, lines=lines[1:])


def _read_text(path: Path) -> str:
    try:
        return read_text(path, encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.", hint=_similar_files(path)) from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder, not a CSV file.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}: line {line} is not UTF-8 text.", hint="Save the file with UTF-8 encoding.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason(error)}.") from None


def _similar_files(path: Path) -> str:
    if not path.parent.is_dir():
        return f"There is no folder {path.parent} either. {relative_hint()}"
    close = near_misses(path.name, [file.name for file in path.parent.iterdir()])
    if close:
        return f"Did you mean {' or '.join(str(path.parent / name) for name in close)}?"
    return relative_hint()


def _check_header(path: Path, names: Sequence[str], delimiter: str) -> Sequence[str]:
    if all(not math.isnan(_number(name)) for name in names):
        raise DataError(
            f"{path}, line 1: has numbers instead of column names.",
            hint="Insert a line with the column names: "
            + delimiter.join(f"c{place}" for place in range(1, len(names) + 1)[:3])
            + " ...",
        )
    for place, name in enumerate(names, start=1):
        if not name:
            raise DataError(
                f"{path}, line 1: column {place} has no name.",
                hint="Name it. (pandas writes such a column of row numbers unless you call to_csv(..., index=False).)",
            )
        if name in names[: place - 1]:
            raise DataError(
                f"{path}, line 1: columns {names.index(name) + 1} and {place} are both named '{name}'.",
                hint="Column names must be unique.",
            )
    return names


def _number(cell: str) -> float:
    """The number in a cell, or NaN. Underscores, which Python allows in numbers, are not allowed."""
    try:
        return math.nan if "_" in cell else float(cell)
    except ValueError:
        return math.nan


def _is_missing(cell: str) -> bool:
    return cell.lower() in MISSING


def _and_more(count: int, column: str) -> str:
    return f" (and {count:,} more in this column)" if count else ""


def _not_a_number_hint(cell: str, column: str) -> str:
    if "," in cell and not math.isnan(_number(cell.replace(",", "."))):
        return "Write numbers with a decimal point."
    return (
        f"Correct it, or {_IGNORE.format(column=column)}; if the column holds categories, write "
        f'data_options = {{ categorical = ["{column}"] }}.'
    )


def _delimiter_word(delimiter: str) -> str:
    return {",": "commas", ";": "semicolons", "\t": "tabs"}[delimiter]
