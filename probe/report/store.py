"""The folder of a run: its name, its `result.json` (also what `--json` prints), and the report drawn from it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, cast

from probe.errors import OutputError, ProbeError, UsageError, first_line
from probe.files import read_text, write_text
from probe.records import SCHEMA_VERSION
from probe.records_json import from_plain, to_plain
from probe.report.kinds import KINDS, Result, kind_of
from probe.report.shared.wording import file_name
from probe.search.records.search import DATABASE_FILE
from probe.search.storage.connection import is_unused

REPORTS = Path("reports")
RESULT_FILE = "result.json"
_LINE_WIDTH, _MOST_SHOWN = 120, 200


def make_default_folder(name: str, now: datetime, *, parent: Path = REPORTS) -> Path:
    """Create `reports/<name>-<UTC time>`, with a number if another run with the same name started in the same second."""
    stem = f"{file_name(name)}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    folder = parent / stem
    for number in count(2):
        try:
            folder.mkdir(parents=True)
        except FileExistsError as error:
            if not parent.is_dir():
                raise _cannot_create(folder, error) from error
            folder = parent / f"{stem}-{number}"
        except (OSError, ValueError) as error:
            raise _cannot_create(folder, error) from error
        else:
            break
    return folder


def newest_folder(name: str, *, parent: Path = REPORTS) -> Path | None:
    """The latest folder of a search called `name`, by the time in the folder's name; None if there is none."""
    pattern = re.compile(rf"{re.escape(file_name(name))}-(\d{{8}}T\d{{6}}Z)(?:-(\d+))?")
    found = []
    for folder in parent.iterdir() if parent.is_dir() else ():
        match = pattern.fullmatch(folder.name)
        if match is not None and (folder / DATABASE_FILE).is_file():
            found.append((match[1], int(match[2] or 1), folder))
    return max(found)[2] if found else None


def prepare_folder(path: Path) -> Path:
    """Create the folder of a run before anything is measured. Raises OutputError if it exists, even if it is empty, unless it
    holds only what a search left that was stopped in its first moment."""
    try:
        path.mkdir(parents=True)
    except FileExistsError as error:
        if is_unused(path):
            return path
        if path.exists():
            raise OutputError(
                f"{path} already exists.",
                hint="Give a new folder with --out; a run never overwrites another one."
                + (" To resume the search in it, add --resume." if (path / DATABASE_FILE).is_file() else ""),
            ) from error
        raise _cannot_create(path, error) from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise _cannot_create(path, error) from error
    return path


def _cannot_create(path: Path, error: Exception) -> OutputError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return OutputError(
        f"The folder {path} cannot be created: {reason}.", hint="Give a folder with write permission with --out."
    )


def result_text(result: Result) -> str:
    """The record as JSON text in ASCII; lists and objects that fit on a line are on one."""
    return f"{_layout(to_plain(result), indent=0)}\n"


def save_result(result: Result, path: Path) -> None:
    """Write the record to the file `path`."""
    write_text(path, result_text(result))


def load_result(path: Path) -> Result:
    """Read the result in `path`, a run's folder or its result.json. Raises UsageError or, if it is not valid, OutputError."""
    if not path.exists():
        raise UsageError(f"{path} does not exist.", hint=f"Give the folder of a run or its {RESULT_FILE}.")
    file = path / RESULT_FILE if path.is_dir() else path
    if not file.exists():
        hint = "Give the folder of a run that has finished or was interrupted; a run that was killed has none."
        raise OutputError(f"The folder {path} has no {RESULT_FILE}.", hint=hint)
    try:
        plain = json.loads(read_text(file))
    except OSError as error:
        raise OutputError(f"{file} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, truncated, nested too deeply
        raise OutputError(f"{file} is not valid JSON: {error}.", hint="It may be truncated: copy it again.") from error
    result = read_result(plain, where=str(file))
    with stored_data(file):
        check_result(result)
    return result


def check_result(result: Result) -> None:
    """Make the answer and the page of a result, without writing them. Raises any exception if values contradict each other."""
    kind = kind_of(result)
    kind.summarize(result)
    kind.page(result, ())


@contextmanager
def stored_data(source: Path | str) -> Iterator[None]:
    """Use values that were read from a file or folder. Raises OutputError if the block fails: they contradict each other."""
    try:
        yield
    except (ProbeError, OSError):
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {first_line(error)}"
        raise OutputError(
            f"{source} is damaged: its values contradict each other ({text[:_MOST_SHOWN]}).",
            hint="Restore it from a backup. If nothing has changed it, please report this with the output of --debug.",
        ) from error


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


def write_report(result: Result, folder: Path) -> Path:
    """Store `result` in `folder`, which is created if needed, and draw its report. Returns the path of the page.

    result.json is written first, so that no measurement is lost if drawing fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be created: {error.strerror or error}.") from error
    save_result(result, folder / RESULT_FILE)
    return draw_report(result, folder)


def redraw_report(path: Path) -> Path:
    """Draw the report again from a run's folder or its result.json. Returns the path of the page."""
    result = load_result(path)
    return draw_report(result, path if path.is_dir() else path.parent)


def draw_report(result: Result, folder: Path) -> Path:
    """Draw the report of `result` without writing result.json. Returns the path of the page."""
    from probe.report.shared.plots import plot_style

    kind = kind_of(result)
    kind.write_files(result, folder)
    with plot_style():
        plots = [file for file, draw in kind.drawings(result).items() if draw(folder / file)]
    path = folder / kind.page_file
    write_text(path, kind.page(result, plots))
    return path
