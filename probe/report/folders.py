"""The folders of runs: default names, and creating a folder before anything is measured."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from probe.errors import OutputError
from probe.search.records.search import DATABASE_FILE

REPORTS = Path("reports")


def default_folder(name: str, now: datetime, *, parent: Path = REPORTS) -> Path:
    """`reports/<name>-<UTC time>`, with a number if two runs with the same name start in the same second.

    Characters of `name` that do not belong in a file name, as in `mytask:task`, become hyphens.
    """
    stem = f"{file_name(name)}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    folder = parent / stem
    number = 2
    while folder.exists():
        folder = parent / f"{stem}-{number}"
        number += 1
    return folder


def newest_folder(name: str, *, parent: Path = REPORTS) -> Path | None:
    """The latest folder of a run called `name`, by the time in the folder's name; None if there is none."""
    pattern = re.compile(rf"{re.escape(file_name(name))}-(\d{{8}}T\d{{6}}Z)(?:-(\d+))?")
    found = []
    for folder in parent.iterdir() if parent.is_dir() else ():
        match = pattern.fullmatch(folder.name)
        if match is not None and folder.is_dir():
            found.append((match[1], int(match[2] or 1), folder))
    return max(found)[2] if found else None


def prepare_folder(path: Path) -> Path:
    """Create the folder of a run. Call it before anything is measured, so that a bad path costs nothing.

    Raises OutputError if the folder exists, even if it is empty, or cannot be created.
    """
    try:
        path.mkdir(parents=True)
    except FileExistsError as error:
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


def file_name(name: str) -> str:
    """`name` reduced to letters, digits, dots, hyphens and underscores: not empty, not hidden, at most 80 characters."""
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.")[:80] or "run"


def _cannot_create(path: Path, error: Exception) -> OutputError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return OutputError(
        f"The folder {path} cannot be created: {reason}.", hint="Give a folder with write permission with --out."
    )
