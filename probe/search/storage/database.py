"""`search.sqlite`: every event is a committed row before it takes effect. Everything else can be rebuilt from it.

Its tables and views can be read with any SQLite client, also while the search runs:

    search     key, value: name, recipe (TOML), recipe_hash, device, data_dir, num_workers, deterministic, probe_version
    sessions   one row per process that worked on it: seconds spent before it; versions, command line and start time
    stages     one row per finished stage: load, scheduler, batch, lr:<optimizer>, probed, end, final; and `cluster`
    events     one row per decision and report: id, seconds, kind, trial, record (the whole event as JSON)
    suggested, started, reported, ended, resumed   the events of one kind, in columns
    trials     one row per trial: its configuration, rungs, epochs and last outcome

`seconds` are those spent on the search, measured by a monotonic clock, without the pauses between sessions. A trial
that was rolled back (`resumed`) or crashed reports its epochs again: the last report of an epoch counts. While a search
runs, its newest rows are in `search.sqlite-wal`, which is folded into the file at the end of every rung and stage.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, get_args

from probe.errors import OutputError, ProbeError, first_line, last_line
from probe.records import RunMeta
from probe.records_json import from_plain, to_plain
from probe.search.storage.connection import (
    IN_MEMORY,
    LOG,
    damaged,
    fold_log,
    lacks_log,
    make_durable,
    open_connection,
    remove_database,
    sqlite_errors,
)
from probe.search.storage.schema import FILE_SCHEMA, TABLES
from probe.search.study.events import Event, SearchResumed, TrialEnded

_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Event)}
_MOST_SHOWN = 200
"""Characters of a damaged value that a message shows."""
_MOST_SECONDS = 1e10
"""Three hundred years."""
Record = TypeVar("Record")


class SearchDatabase:
    """The open database of a search. What a method writes is on the disk when it returns. Every method raises
    OutputError if the disk is full or the file is damaged."""

    def __init__(self, path: Path, connection: sqlite3.Connection, *, writes: bool) -> None:
        self.path = path
        self._connection = connection
        self.lacks_log = False
        """Whether its log is missing, which may hold the newest rows."""
        self._writes = writes
        self._is_stored = False
        """Whether another process may have written the rows."""
        self.damage: list[str] | None = None
        """What is damaged in a database that is read as far as possible; None for one in which damage is an error."""
        self.reading: str | None = None
        """The event that `events` has read last; None at its end."""
        self.event_seconds = 0.0
        """Seconds from the first to the last event of each session, summed over the events read or appended so far."""
        self._last_seconds: float | None = None

    @classmethod
    def create(cls, path: Path, facts: dict[str, str], meta: RunMeta | None = None) -> SearchDatabase:
        """Create a file with these rows in table `search`, and its first session. On failure no file is left."""
        is_new = path != IN_MEMORY and not path.exists()
        database = cls(path, open_connection(path, create=True), writes=True)
        try:
            with database._guarded():
                make_durable(database._connection, path)
                rows = "".join(f"INSERT INTO search VALUES ({_quoted(k)}, {_quoted(v)});\n" for k, v in facts.items())
                if meta is not None:
                    rows += f"INSERT INTO sessions (seconds, meta) VALUES (0, {_quoted(_text(meta))});\n"
                database._connection.executescript(
                    f"BEGIN IMMEDIATE;{TABLES}{rows}PRAGMA user_version = {FILE_SCHEMA};COMMIT;"
                )
            fold_log(database._connection)
        except BaseException:
            database.close()
            if is_new:
                remove_database(path)
            raise
        return database

    @classmethod
    def open(cls, path: Path, *, to_write: bool, lenient: bool = False) -> SearchDatabase:
        """Open the file of a search; `to_write` checks its integrity. With `lenient`, `events` ends before the first damaged
        one, and a damaged stage counts as not finished. Raises OutputError if it cannot be used."""
        if not path.is_file():
            raise OutputError(f"{path} does not exist.", hint="Give the folder of a run of `probe search`.")
        without_log = lacks_log(path)  # SQLite makes a new one
        database = cls(path, open_connection(path, create=False, to_write=to_write), writes=to_write)
        database.lacks_log, database._is_stored = without_log, True
        database.damage = [] if lenient else None
        try:
            database._check(whole=to_write)
            if to_write:
                with database._guarded():
                    make_durable(database._connection, path)
        except OutputError:
            database.close()
            raise
        return database

    def __enter__(self) -> SearchDatabase:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database and merge its log into one file, unless the disk is full or the file is being read."""
        if self._writes:
            with suppress(sqlite3.Error):
                self._connection.execute("PRAGMA journal_mode = DELETE")
        with suppress(sqlite3.Error):
            self._connection.close()

    @property
    def log_warning(self) -> str | None:
        """A warning if the newest rows may be missing; None otherwise."""
        if not self.lacks_log:
            return None
        name = self.path.name
        return (
            f"{name} was in use when it was last written, but {name}{LOG} is not beside it. If it was copied without that "
            "file, the decisions since the last end of a rung are missing: copy both."
        )

    def append(self, event: Event, seconds: float) -> None:
        """Write an event, `seconds` after the start of the search. The end of a rung folds the log into the file."""
        number = getattr(event, "number", None)
        with self._guarded():
            self._connection.execute(
                "INSERT INTO events (seconds, kind, trial, record) VALUES (?, ?, ?, ?)",
                (seconds, type(event).__name__, number, _text(event)),
            )
        self._count(event, seconds)
        if isinstance(event, TrialEnded):
            fold_log(self._connection)

    def events(self) -> Iterator[Event]:
        """Read all events in order."""
        self.event_seconds, self._last_seconds = 0.0, None
        with self._noting(), self._guarded():
            rows = self._connection.execute("SELECT id, seconds, kind, record FROM events ORDER BY id")
            for number, seconds, kind, record in rows:
                self.reading = f"event {number}"
                event = self._read(_KINDS.get(kind), record, self.reading)
                self._count(event, self._seconds(seconds, self.reading))
                yield event
        self.reading = None

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Rebuild a search from its rows. Raises OutputError with the event that was read last if the block fails: the rows
        contradict each other. For a search that was not stored, other errors than `ProbeError` are raised unchanged."""
        try:
            yield
        except ProbeError:
            raise
        except Exception as error:
            if not self._is_stored:
                raise
            raise self.contradiction(error, self.reading) from error

    def contradiction(self, error: Exception, row: str | None) -> OutputError:
        """The error for rows, up to `row` if given, that do not go with each other."""
        text = first_line(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {first_line(error)}"
        return self._damaged(f"{row or 'its rows contradict each other'}: {text[:_MOST_SHOWN]}")

    def _count(self, event: Event, seconds: float) -> None:
        if self._last_seconds is not None and not isinstance(event, SearchResumed):
            self.event_seconds += seconds - self._last_seconds
        self._last_seconds = seconds

    def save(self, stage: str, record: Any, seconds: float) -> None:
        """Save the result of a stage, replacing any earlier one."""
        with self._guarded():
            self._connection.execute("INSERT OR REPLACE INTO stages VALUES (?, ?, ?)", (stage, seconds, _text(record)))
        fold_log(self._connection)

    def stage(self, name: str, kind: type[Record]) -> Record | None:
        """Return the result of a stage; None if it has not finished."""
        with self._noting():
            with self._guarded():
                row = self._connection.execute("SELECT record FROM stages WHERE name = ?", (name,)).fetchone()
            return None if row is None else self._read(kind, row[0], f"stage {name}")
        return None

    def drop(self, stage: str) -> None:
        """Delete the result of a stage."""
        with self._guarded():
            self._connection.execute("DELETE FROM stages WHERE name = ?", (stage,))

    def stage_names(self) -> list[str]:
        """Return the names of the finished stages, in their order."""
        with self._guarded():
            return [str(name) for (name,) in self._connection.execute("SELECT name FROM stages ORDER BY rowid")]

    def facts(self) -> dict[str, str]:
        """Return the rows of table `search`."""
        with self._guarded():
            rows = dict(self._connection.execute("SELECT key, value FROM search"))
        for key, value in rows.items():
            if not isinstance(value, str):
                raise self._damaged(f"{key!r} of table search is not a text")
        return rows

    def change(self, key: str, value: str) -> None:
        """Write a row of table `search`, replacing any earlier one."""
        with self._guarded():
            self._connection.execute("INSERT OR REPLACE INTO search VALUES (?, ?)", (key, value))

    def add_session(self, meta: RunMeta, seconds: float) -> None:
        """Record that a process works on the search, after `seconds` were spent on it."""
        with self._guarded():
            self._connection.execute("INSERT INTO sessions (seconds, meta) VALUES (?, ?)", (seconds, _text(meta)))

    def sessions(self) -> list[RunMeta]:
        """Return the metadata of all sessions, the first one first."""
        with self._guarded():
            rows = self._connection.execute("SELECT id, meta FROM sessions ORDER BY id").fetchall()
        return [self._read(RunMeta, meta, f"session {number}") for number, meta in rows]

    def seconds(self) -> float:
        """Return the seconds spent on the search up to its last row."""
        with self._noting(), self._guarded():
            last = "SELECT max(seconds) FROM (SELECT max(seconds) AS seconds FROM stages UNION ALL SELECT max(seconds) "
            [row] = self._connection.execute(f"{last} FROM events WHERE id = (SELECT max(id) FROM events))")
            return self._seconds(row[0] or 0.0, "its last row")
        return 0.0

    def _read(self, kind: type[Record] | None, text: str, what: str) -> Record:
        if kind is None:
            raise self._damaged(f"{what} has a kind that is unknown to this version of probe")
        try:
            return from_plain(kind, json.loads(text))
        except (ValueError, TypeError, RecursionError) as error:
            raise self._damaged(f"{what}: {first_line(error)[:_MOST_SHOWN]}") from error

    def _seconds(self, value: Any, what: str) -> float:
        if not isinstance(value, (int, float)) or not 0 <= value < _MOST_SECONDS:
            raise self._damaged(f"{what}: {str(value)[:_MOST_SHOWN]} is no number of seconds")
        return float(value)

    def _check(self, *, whole: bool) -> None:
        with self._guarded():
            [version] = self._connection.execute("PRAGMA user_version").fetchone()
            [num_tables] = self._connection.execute(
                "SELECT count(*) FROM sqlite_master WHERE name = 'events'"
            ).fetchone()
        if version > FILE_SCHEMA:
            raise OutputError(
                f"{self.path} has schema {version}; this version of probe reads schema {FILE_SCHEMA}.",
                hint="Resume with the version that wrote it, or update this one: pip install --upgrade torch-probe",
            )
        if version < 1 or not num_tables:
            raise OutputError(
                f"{self.path} contains no search: it was killed before it started, or another program wrote the file.",
                hint="Start a new search, without --resume.",
            )
        if whole:
            with self._guarded():
                [verdict] = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok":
                raise self._damaged(last_line(str(verdict)))

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OutputError as error:
            if self.damage is None:
                raise
            self.damage.append(error.message)

    def _damaged(self, what: str) -> OutputError:
        return damaged(self.path, what, to_write=self._writes, without_log=self.lacks_log)

    def _guarded(self) -> AbstractContextManager[None]:
        return sqlite_errors(self.path, self._damaged)


def _text(record: Any) -> str:
    return json.dumps(to_plain(record), separators=(",", ":"), allow_nan=False)


def _quoted(text: str) -> str:
    """SQL text. Undecodable bytes of a path (lone surrogates) are written as escapes."""
    return "'" + text.encode("utf-8", errors="backslashreplace").decode().replace("'", "''") + "'"
