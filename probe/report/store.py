"""Results as JSON: `result.json` and what `--json` prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from probe.batch.records import BatchComparison, BatchResult
from probe.errors import OutputError, UsageError
from probe.files import write_text
from probe.lr.records import LrComparison, LrResult
from probe.records import SCHEMA_VERSION
from probe.records_json import from_plain, to_plain
from probe.search.records.comparison import SearchComparison
from probe.search.records.search import SearchResult
from probe.single.records import TrainResult

Result = BatchResult | BatchComparison | LrResult | LrComparison | SearchResult | SearchComparison | TrainResult
RESULT_FILE = "result.json"

_KINDS: dict[str, type[Result]] = {
    "batch": BatchResult,
    "batch_comparison": BatchComparison,
    "lr": LrResult,
    "lr_comparison": LrComparison,
    "search": SearchResult,
    "search_comparison": SearchComparison,
    "train": TrainResult,
}
_LINE_WIDTH = 120


def result_text(result: Result) -> str:
    """The whole record as JSON text in ASCII, ending with a newline; what fits on a line stands on one."""
    return f"{_layout(to_plain(result), indent=0)}\n"


def save_result(result: Result, path: Path) -> None:
    """Write the record to the file `path`. Raises OutputError where that is not possible."""
    write_text(path, result_text(result))


def load_result(path: Path) -> Result:
    """The record stored in `path`, a run's folder or its result.json.

    Raises UsageError where there is no such path, OutputError where what lies there cannot be read as a result.
    """
    if not path.exists():
        raise UsageError(f"There is no {path}.", hint=f"Name a run's folder, or the {RESULT_FILE} in it.")
    file = path / RESULT_FILE if path.is_dir() else path
    if not file.exists():
        hint = "Name the folder of a run that was finished or interrupted: one that was killed has none yet."
        raise OutputError(f"The folder {path} holds no {RESULT_FILE}.", hint=hint)
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise OutputError(f"{file} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, cut off in the middle, nested without end
        raise OutputError(
            f"{file} is not valid JSON: {error}.", hint="It may have been cut off while it was copied: copy it again."
        ) from error
    return read_result(plain, where=str(file))


def read_result(plain: Any, *, where: str) -> Result:
    """The record that `plain`, parsed JSON, describes; `where` names its source in errors. Raises OutputError."""
    kind = plain.get("kind") if isinstance(plain, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        given = "no kind" if kind is None else f"kind {kind!r}"
        raise OutputError(
            f"{where} is not a result of probe: it has {given}, known are {', '.join(_KINDS)}.",
            hint=f"Name a run's folder, or the {RESULT_FILE} in it.",
        )
    schema = plain.get("schema")
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
        raise OutputError(f"{where} is not a result of probe: its schema is {schema!r}, not a whole number from 1.")
    if schema > SCHEMA_VERSION:
        raise OutputError(
            f"{where} has schema {schema}; this version of probe reads schemas up to {SCHEMA_VERSION}.",
            hint="Update probe: pip install --upgrade torch-probe",
        )
    try:
        return from_plain(_KINDS[kind], plain)
    except ValueError as error:
        raise OutputError(f"{where} does not hold a valid result. {error}") from error


def _layout(plain: Any, *, indent: int) -> str:
    """JSON text with each list or table on one line if it fits and holds no other, so that a point of a curve is a line."""
    line = json.dumps(plain, allow_nan=False)
    if not isinstance(plain, (dict, list)) or not plain:
        return line
    items = list(plain.values()) if isinstance(plain, dict) else plain
    is_flat = not any(isinstance(item, (dict, list)) and item for item in items)
    if is_flat and indent + len(line) <= _LINE_WIDTH:
        return line
    inner = indent + 2
    if isinstance(plain, dict):
        parts = [f"{json.dumps(key)}: {_layout(value, indent=inner)}" for key, value in plain.items()]
        opening, closing = "{}"
    else:
        parts = [_layout(item, indent=inner) for item in plain]
        opening, closing = "[]"
    body = ",\n".join(" " * inner + part for part in parts)
    return f"{opening}\n{body}\n{' ' * indent}{closing}"
