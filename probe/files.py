"""Atomic writes: a reader sees the old file or the new one, never half of it. Imports no PyTorch."""

from __future__ import annotations

import csv
import errno
import io
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from probe.errors import DiskFullError, OutputError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; after the block, sync that file, rename it to `path` and sync the folder.
    If the block raises, the file is removed. Its name is unique, also in a folder that several machines share."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder, so that a new file is found after a power cut, where the system supports that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Like `atomic_path`, but yield the temporary file opened for writing bytes."""
    with atomic_path(path) as temporary, temporary.open("xb") as file:
        yield file


def write_bytes(path: Path, content: bytes, *, what: str = "file") -> None:
    """Write `content` to `path` atomically. Raises OutputError, or DiskFullError if the disk is full."""
    try:
        with atomic_file(path) as file:
            file.write(content)
    except OSError as error:
        raise write_error(what, path, error) from error


def write_text(path: Path, text: str) -> None:
    """Like `write_bytes`, in UTF-8. Lone surrogates (undecodable bytes of a command line) are written as escapes."""
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Like `write_text`, a table as CSV; None becomes an empty cell."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([header, *rows])
    write_text(path, buffer.getvalue())


def write_error(what: str, path: Path, error: Exception) -> OutputError:
    """The error to raise if `path`, a `what` such as "checkpoint", cannot be written: DiskFullError if the disk or a quota is
    full."""
    cause: BaseException | None = error
    while cause is not None:  # while it handles an OSError, PyTorch's writer raises a RuntimeError
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return DiskFullError(f"The {what} {path} cannot be written: the disk is full.", hint="Free some space.")
        cause = cause.__cause__ or cause.__context__
    reason = (isinstance(error, OSError) and error.strerror) or error
    return OutputError(
        f"The {what} {path} cannot be written: {reason}", hint="Check that its folder exists and is writable."
    )


def file_stamp(path: Path) -> tuple[int, int] | None:
    """Time and size of a file, so that a cache notices edits; None if it does not exist."""
    if not path.exists():
        return None
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def move_file(source: Path, target: Path) -> None:
    """Move a file, also to another filesystem. Readers of `target` see the old file or the whole new one. Raises OSError."""
    with source.open("rb") as content, atomic_file(target) as file:
        shutil.copyfileobj(content, file)
    source.unlink(missing_ok=True)
