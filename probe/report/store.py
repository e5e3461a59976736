"""Results as JSON: `result.json` and what `--json` prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from probe.errors import OutputError, UsageError
from probe.files import write_text
from probe.records import SCHEMA_VERSION
from probe.records_json import from_plain, to_plain
from probe.report.kinds import KINDS, Result

RESULT_FILE = "result.json"
_LINE_WIDTH = 120


def result_text(result: Result) -> str:
    """The record as JSON text in ASCII that ends with a newline; lists and objects that fit on a line are on one."""
    return f"{_layout(to_plain(result), indent=0)}\n"


def save_result(result: Result, path: Path) -> None:
    """Write the record to the file `path`. Raises OutputError if that is not possible."""
    write_text(path, result_text(result))


def load_result(path: Path) -> Result:
    """Read the result stored in `path`, a run's folder or its result.json.

    Raises:
        UsageError: if the path does not exist.
        OutputError: if its content is not a valid result.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist.", hint=f"Give the folder of a run or its {RESULT_FILE}.")
    file = path / RESULT_FILE if path.is_dir() else path
    if not file.exists():
        hint = "Give the folder of a run that has finished or was interrupted; a run that was killed has none."
        raise OutputError(f"The folder {path} has no {RESULT_FILE}.", hint=hint)
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise OutputError(f"{file} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, truncated, nested too deeply
        raise OutputError(f"{file} is not valid JSON: {error}.", hint="It may be truncated: copy it again.") from error
    return read_result(plain, where=str(file))


def read_result(plain: Any, *, where: str) -> Result:
    """Build the result from parsed JSON; `where` names its source in errors. Raises OutputError."""
    kind = plain.get("kind") if isinstance(plain, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        given = "no kind" if kind is None else f"kind {kind!r}"
        raise OutputError(
            f"{where} is not a result of probe: it has {given}. The known kinds are {', '.join(KINDS)}.",
            hint=f"Give the folder of a run or its {RESULT_FILE}.",
        )
    schema = plain.get("schema")
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
        raise OutputError(f"{where} is not a result of probe: its schema is {schema!r}, not a positive whole number.")
    if schema > SCHEMA_VERSION:
        raise OutputError(
            f"{where} has schema {schema}; this version of probe reads schemas up to {SCHEMA_VERSION}.",
            hint="Update probe: pip install --upgrade torch-probe",
        )
    try:
        return cast(Result, from_plain(KINDS[kind].record, plain))
    except ValueError as error:
        raise OutputError(f"{where} is not a valid result. {error}") from error


def _layout(plain: Any, *, indent: int) -> str:
    """JSON text with each list or object on one line if it fits and is not nested: a point of a curve is a line."""
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
