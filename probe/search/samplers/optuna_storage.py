"""Checks of the storage that a search is exported to, before anything is written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from probe.errors import OutputError, UsageError
from probe.search.records.search import DATABASE_FILE

_HINT = "Give the name of a new file, or a storage of Optuna, like: --optuna sqlite:///x.db"
_OPTUNA_TABLES = {"studies", "version_info"}


def sqlite_file(storage: str) -> Path | None:
    """Return the absolute path of the file of a SQLite URL, in any of its spellings; None for another kind of storage. Raises
    UsageError if the study would be lost in memory or be in a file of a search."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(storage)
    except ArgumentError:
        return None
    if url.get_backend_name() != "sqlite":
        return None
    name = url.database or ""
    query: dict[str, Any] = dict(url.query)
    if name.startswith("file:") and str(query.get("uri", "")).lower() in ("true", "1", "yes", "on"):
        parts = urlsplit(name)
        name, query = unquote(parts.path), {**query, **parse_qs(parts.query)}
    if name in ("", ":memory:") or "memory" in query.get("mode", ()):
        raise UsageError(f"--optuna {storage}: the study would be in memory, and lost.", hint=_HINT)
    path = Path(name).absolute()
    if path.name.startswith(DATABASE_FILE):
        raise UsageError(f"--optuna {storage}: the name {DATABASE_FILE} is reserved for searches of probe.", hint=_HINT)
    return path


def check_is_optuna(file: Path) -> None:
    """Raise OutputError unless an existing file is a storage of Optuna. The file is not changed."""
    try:
        # Immutable: SQLite takes no lock and makes no file beside it.
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.Error:
        tables = set()
    if not tables >= _OPTUNA_TABLES:
        kind = "the database of a search" if {"events", "stages"} <= tables else "no storage of Optuna"
        raise OutputError(f"{file} exists, and it is {kind}. It was not changed.", hint=_HINT)
