"""Connections to `search.sqlite`, and the files that SQLite keeps beside it."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from probe.errors import DiskFullError, OutputError, first_line
from probe.search.records.search import DATABASE_FILE
from probe.search.storage.mounts import uses_log

IN_MEMORY = Path(":memory:")
"""Path of a database in memory, for a search that cannot be resumed."""
LOG, COMPANIONS = "-wal", ("-wal", "-shm", "-journal")
"""Ends of the names of SQLite's files beside a database; LOG holds committed rows until they are folded into it."""
LOCK_FILE = "search.lock"
"""Name of the lock file beside the database. It contains the process id of its holder."""
WAIT_SECONDS = 60.0
"""How long a write waits for a reader. Without a log, writers and readers exclude each other."""
_DAMAGE = ("malformed", "no such table", "no such column", "UTF-8")
"""Words of SQLite's errors about the content of a file."""
_HEADER_BYTES, _LOG_FLAG = 100, 19


def beside(path: Path, end: str) -> Path:
    """The path of one of SQLite's files beside a database."""
    return path.with_name(f"{path.name}{end}")


def open_connection(path: Path, *, create: bool = False, to_write: bool = True) -> sqlite3.Connection:
    """Open a database. Raises OutputError if it cannot be opened or is none."""
    try:
        return connect(path, create=create, to_write=to_write)
    except (sqlite3.OperationalError, OSError) as error:
        raise OutputError(f"{path} cannot be opened: {error}.", hint="Check the permissions of its folder.") from error
    except sqlite3.DatabaseError as error:
        raise damaged(path, str(error), to_write=to_write, without_log=lacks_log(path)) from error


def damaged(path: Path, what: str, *, to_write: bool, without_log: bool) -> OutputError:
    """The error for a database with a damage; `without_log`: it was in use, but its log is missing."""
    if without_log:
        hint = f"It was copied without {path.name}{LOG}, or while it was written: copy both again while no search runs."
    elif to_write:
        hint = f"`probe report {path.parent}` shows what can still be read. Restore a backup, or start a new search."
    else:
        hint = "Restore the file from a backup."
    return OutputError(f"{path} is damaged: {what.rstrip('.')}.", hint=hint)


@contextmanager
def sqlite_errors(path: Path, damaged: Callable[[str], OutputError]) -> Iterator[None]:
    """Raise OutputError for SQLite's errors: DiskFullError if the disk is full, `damaged(reason)` for the file's content."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = first_line(error)
        if not isinstance(error, sqlite3.OperationalError) or any(word in text for word in _DAMAGE):
            raise damaged(text) from error
        is_full = "disk is full" in text
        reason = "the disk is full" if is_full else text
        todo = "Free some space" if is_full else "Check whether the disk is full or read-only"
        raise (DiskFullError if is_full else OutputError)(
            f"{path} cannot be read or written: {reason}.",
            hint=f"All rows written so far are kept. {todo}, then resume with --resume.",
        ) from error


def connect(path: Path, *, create: bool = False, to_write: bool = True) -> sqlite3.Connection:
    """Open a database. One that is only read is not changed, may be truncated, and may be on a read-only disk. Raises
    sqlite3.Error."""
    if create and path != IN_MEMORY:
        path.touch()  # with the mode that the umask says; SQLite's own is 0644 at most
    if path == IN_MEMORY or create:
        return sqlite3.connect(str(path), isolation_level=None, timeout=WAIT_SECONDS)
    uri = f"{path.absolute().as_uri()}?mode={'rw' if to_write else 'ro'}"
    if to_write:
        return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=WAIT_SECONDS)
    if lacks_log(path):  # nobody writes it, and SQLite would make a new log
        return _to_read(f"{uri}&immutable=1")
    try:
        return _to_read(uri)
    except sqlite3.OperationalError:
        # The index of the log cannot be created: a read-only medium or a full disk.
        if beside(path, LOG).exists():
            return _copy_in_memory(path)
        return _to_read(f"{uri}&immutable=1")


def _to_read(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only = ON")
        # Lets SQLite read the beginning of a truncated file, which it would refuse otherwise.
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("PRAGMA schema_version")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _copy_in_memory(path: Path) -> sqlite3.Connection:
    """A copy of a database and its log, read in a folder that can be written."""
    with tempfile.TemporaryDirectory(prefix="probe-read-") as folder:
        copy = Path(folder) / path.name
        for file in (path, beside(path, LOG)):
            shutil.copyfile(file, copy.with_name(file.name))
        target = sqlite3.connect(":memory:", isolation_level=None)
        with closing(sqlite3.connect(copy)) as source:
            source.backup(target)
    target.execute("PRAGMA query_only = ON")
    return target


def make_durable(connection: sqlite3.Connection, path: Path) -> None:
    """Have every committed row synced, so that it survives a power cut as well as a kill. Raises sqlite3.Error."""
    mode = _set_journal(connection, "WAL") if path == IN_MEMORY or uses_log(path) else None
    if mode is None:
        mode = _set_journal(connection, "DELETE")
    if path != IN_MEMORY and mode in (None, "memory", "off"):
        raise sqlite3.OperationalError(f"SQLite cannot protect it against a kill here (journal mode {mode})")
    # EXTRA also syncs the folder after the journal is deleted, which commits a row.
    connection.execute(f"PRAGMA synchronous = {'FULL' if mode == 'wal' else 'EXTRA'}")


def _set_journal(connection: sqlite3.Connection, mode: str) -> str | None:
    """Return the mode that SQLite uses now; None if the file system does not support what was asked."""
    try:
        return str(connection.execute(f"PRAGMA journal_mode = {mode}").fetchone()[0])
    except sqlite3.OperationalError as error:
        if mode == "WAL" and "full" not in str(error):
            return None
        raise


def fold_log(connection: sqlite3.Connection) -> None:
    """Move the rows in the log into the file, as far as readers and the disk allow it now; the log keeps the others."""
    connection.execute("PRAGMA busy_timeout = 0")
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute(f"PRAGMA busy_timeout = {round(WAIT_SECONDS * 1000)}")


def lacks_log(path: Path) -> bool:
    """Whether the database was in use when it was last written, but its log is not beside it: it was copied without, or
    another program has folded the log."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        return False
    return len(header) == _HEADER_BYTES and header[_LOG_FLAG] == 2 and not beside(path, LOG).exists()


def is_unstarted(path: Path) -> bool:
    """Whether the file of a search has no table: its process was killed, or the disk was full, in the first moment."""
    try:
        if not path.stat().st_size:
            return True
        with closing(connect(path, to_write=False)) as connection:
            return not connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except (OSError, sqlite3.Error):
        return False


def is_unused(folder: Path) -> bool:
    """Whether a folder contains nothing but an empty database and a lock: the files of a search that was killed, or whose disk
    was full, in its first moment."""
    database = folder / DATABASE_FILE
    own = {LOCK_FILE, database.name, *(beside(database, end).name for end in COMPANIONS)}
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError:
        return False
    return bool(names) and names <= own and (database.name not in names or is_unstarted(database))


def remove_database(path: Path) -> None:
    """Delete a database and SQLite's files beside it."""
    for file in (path, *(beside(path, end) for end in COMPANIONS)):
        file.unlink(missing_ok=True)
