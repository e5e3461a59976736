"""`search.sqlite`: every event is a committed row before it takes effect. Everything else can be rebuilt from it.

Its tables and views can be read with any SQLite client, also while the search runs:

    search     key, value: name, recipe (TOML), recipe_hash, device, data_dir, num_workers, deterministic, probe_version
    sessions   one row per process that worked on it: seconds spent before it; versions, command line and start time
    stages     one row per finished stage: load, scheduler, batch, lr:<optimizer>, probed, end, final; and `cluster`
    events     one row per decision and report: id, seconds, kind, trial, record (the whole event as JSON)
    suggested, started, reported, ended, resumed   the events of one kind, in columns
    trials     one row per trial: its configuration, rungs, epochs and last outcome

`seconds` are those spent on the search, measured by a monotonic clock, without the pauses between sessions. A trial
that was rolled back (`resumed`) or crashed reports its epochs again: the last report of an epoch counts.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, get_args

from probe.errors import DiskFullError, OutputError, last_line
from probe.records import RunMeta
from probe.records_json import from_plain, to_plain
from probe.search.records.search import DATABASE_FILE
from probe.search.storage.schema import FILE_SCHEMA, TABLES
from probe.search.study.events import Event, SearchResumed

IN_MEMORY = Path(":memory:")
"""Path of a database in memory, for a search that cannot be resumed."""

_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Event)}
Record = TypeVar("Record")


class SearchDatabase:
    """The open database of a search. What a method writes is on the disk when it returns. Every method raises
    OutputError if the disk is full or the file is damaged."""

    def __init__(self, path: Path, connection: sqlite3.Connection, *, writes: bool) -> None:
        self.path = path
        self._connection = connection
        self._writes = writes
        self.stopped_at: str | None = None
        """Why `events(lenient=True)` stopped early; None if it read all events."""
        self.event_seconds = 0.0
        """Seconds from the first to the last event of each session, summed over the events read or appended so far."""
        self._last_seconds: float | None = None

    @classmethod
    def create(cls, path: Path, facts: dict[str, str]) -> SearchDatabase:
        """Create a file with these rows in table `search`."""
        database = cls(path, _connect(path, create=True), writes=True)
        try:
            with database._guarded():
                database._connection.execute("PRAGMA journal_mode = WAL")
                # FULL: a committed row is synced, so that it survives a power cut as well as a kill.
                database._connection.execute("PRAGMA synchronous = FULL")
                rows = "".join(f"INSERT INTO search VALUES ({_quoted(k)}, {_quoted(v)});\n" for k, v in facts.items())
                database._connection.executescript(
                    f"BEGIN IMMEDIATE;{TABLES}{rows}PRAGMA user_version = {FILE_SCHEMA};COMMIT;"
                )
        except OutputError:
            database.close()
            raise
        return database

    @classmethod
    def open(cls, path: Path, *, to_write: bool) -> SearchDatabase:
        """Open the file of a search; `to_write` checks its integrity. Raises OutputError if it cannot be used."""
        if not path.is_file():
            raise OutputError(f"{path} does not exist.", hint="Give the folder of a run of `probe search`.")
        database = cls(path, _connect(path, create=False, to_write=to_write), writes=to_write)
        try:
            database._check(whole=to_write)
            if to_write:
                with database._guarded():
                    database._connection.execute("PRAGMA journal_mode = WAL")
                    database._connection.execute("PRAGMA synchronous = FULL")
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

    def append(self, event: Event, seconds: float) -> None:
        """Write an event, `seconds` after the start of the search."""
        number = getattr(event, "number", None)
        with self._guarded():
            self._connection.execute(
                "INSERT INTO events (seconds, kind, trial, record) VALUES (?, ?, ?, ?)",
                (seconds, type(event).__name__, number, _text(event)),
            )
        self._count(event, seconds)

    def events(self, *, lenient: bool = False) -> Iterator[Event]:
        """Read all events in order. With `lenient`, stop at the first damaged one and set `stopped_at`."""
        self.event_seconds, self._last_seconds = 0.0, None
        try:
            with self._guarded():
                rows = self._connection.execute("SELECT id, seconds, kind, record FROM events ORDER BY id")
                for number, seconds, kind, record in rows:
                    event = self._read(_KINDS.get(kind), record, f"event {number}")
                    self._count(event, seconds)
                    yield event
        except OutputError as error:
            if not lenient:
                raise
            self.stopped_at = error.message

    def _count(self, event: Event, seconds: float) -> None:
        if self._last_seconds is not None and not isinstance(event, SearchResumed):
            self.event_seconds += seconds - self._last_seconds
        self._last_seconds = seconds

    def save(self, stage: str, record: Any, seconds: float) -> None:
        """Save the result of a stage, replacing any earlier one."""
        with self._guarded():
            self._connection.execute("INSERT OR REPLACE INTO stages VALUES (?, ?, ?)", (stage, seconds, _text(record)))

    def stage(self, name: str, kind: type[Record]) -> Record | None:
        """Return the result of a stage; None if it has not finished."""
        with self._guarded():
            row = self._connection.execute("SELECT record FROM stages WHERE name = ?", (name,)).fetchone()
        return None if row is None else self._read(kind, row[0], f"stage {name}")

    def drop(self, stage: str) -> None:
        """Delete the result of a stage."""
        with self._guarded():
            self._connection.execute("DELETE FROM stages WHERE name = ?", (stage,))

    def stage_names(self) -> list[str]:
        """Return the names of the finished stages, in their order."""
        with self._guarded():
            return [name for (name,) in self._connection.execute("SELECT name FROM stages ORDER BY rowid")]

    def facts(self) -> dict[str, str]:
        """Return the rows of table `search`."""
        with self._guarded():
            return dict(self._connection.execute("SELECT key, value FROM search"))

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
        with self._guarded():
            last = "SELECT max(seconds) FROM (SELECT max(seconds) AS seconds FROM stages UNION ALL SELECT max(seconds) "
            [row] = self._connection.execute(f"{last} FROM events WHERE id = (SELECT max(id) FROM events))")
        return float(row[0] or 0.0)

    def _read(self, kind: type[Record] | None, text: str, what: str) -> Record:
        if kind is None:
            raise self._damaged(f"{what} has a kind that is unknown to this version of probe")
        try:
            return from_plain(kind, json.loads(text))
        except (ValueError, TypeError) as error:
            raise self._damaged(f"{what}: {error}") from error

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

    def _damaged(self, what: str) -> OutputError:
        return _damaged(self.path, what, to_write=self._writes)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "malformed" in str(error):
                raise self._damaged(str(error)) from error
            is_full = "disk is full" in str(error)
            reason = "the disk is full" if is_full else str(error)
            todo = "Free some space" if is_full else "Check whether the disk is full or read-only"
            raise (DiskFullError if is_full else OutputError)(
                f"{self.path} cannot be read or written: {reason}.",
                hint=f"All rows written so far are kept. {todo}, then resume with --resume.",
            ) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error


def num_sessions(folder: Path) -> int | None:
    """Return the number of processes that have worked on the search in `folder`; None if its file cannot be read."""
    try:
        with SearchDatabase.open(folder / DATABASE_FILE, to_write=False) as database:
            return len(database.sessions())
    except OutputError:
        return None


def _connect(path: Path, *, create: bool, to_write: bool = True) -> sqlite3.Connection:
    try:
        if create and path != IN_MEMORY:
            path.touch()  # with the mode that the umask says; SQLite's own is 0644 at most
        if path == IN_MEMORY or create:
            return sqlite3.connect(str(path), isolation_level=None)
        uri = f"{path.absolute().as_uri()}?mode={'rw' if to_write else 'ro'}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        if not to_write:
            try:
                connection.execute("PRAGMA query_only = ON")
                # Lets SQLite read the beginning of a truncated file, which it would refuse otherwise.
                connection.execute("PRAGMA writable_schema = ON")
                connection.execute("PRAGMA schema_version")
            except sqlite3.OperationalError:
                # The index of the log cannot be created: a read-only medium or a full disk.
                if path.with_name(f"{path.name}-wal").exists():
                    raise
                connection.close()
                connection = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
                connection.execute("PRAGMA writable_schema = ON")
    except (OSError, sqlite3.OperationalError) as error:
        raise OutputError(f"{path} cannot be opened: {error}.", hint="Check the permissions of its folder.") from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error), to_write=to_write) from error
    return connection


def _damaged(path: Path, what: str, *, to_write: bool) -> OutputError:
    if not to_write:
        return OutputError(
            f"{path} is damaged ({what}), so it cannot be read.",
            hint="Restore the file from a backup. Without it the search is lost.",
        )
    return OutputError(
        f"{path} is damaged ({what}), so the search cannot be resumed.",
        hint=f"`probe report {path.parent}` shows what can still be read. Restore a backup, or start a new search.",
    )


def _text(record: Any) -> str:
    return json.dumps(to_plain(record), separators=(",", ":"), allow_nan=False)


def _quoted(text: str) -> str:
    """SQL text. Undecodable bytes of a path (lone surrogates) are written as escapes."""
    return "'" + text.encode("utf-8", errors="backslashreplace").decode().replace("'", "''") + "'"
