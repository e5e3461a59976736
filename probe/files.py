"""Reads that neither wait nor go on forever, atomic writes, and errors of the file system as sentences. Imports no PyTorch.

A reader of an atomic write sees the old file or the new one, never half of it.
"""

from __future__ import annotations

import csv
import errno
import io
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from probe.errors import DiskFullError, OutputError, ProbeError, UsageError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_KEPT_LETTERS = 50
"""Letters of a file's name in the name of its temporary file: that of a file with the longest name is no longer."""


def open_file(path: Path) -> IO[bytes]:
    """Open a file to read. A pipe that nothing writes to is empty; opened as usual, it would wait for a writer. Raises OSError,
    also for a device, which may be endless, and for a name that no file can have."""
    mode = _status(path).st_mode
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise OSError(errno.EINVAL, "It is a device, not a file", str(path))
    if not stat.S_ISFIFO(mode):
        return path.open("rb")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, *, most: int | None = None) -> bytes:
    """Read a file of at most `most` bytes. Raises OSError as `open_file`, and for a larger file."""
    with open_file(path) as file:
        content = file.read(-1 if most is None else most + 1)
    if most is not None and len(content) > most:
        raise OSError(errno.EFBIG, f"It has more than {most:,} bytes", str(path))
    return content


def read_text(path: Path, *, encoding: str = "utf-8", most: int | None = None) -> str:
    """Like `read_bytes`, as text with `\\n` at the end of each line. Raises UnicodeDecodeError, too."""
    return io.TextIOWrapper(io.BytesIO(read_bytes(path, most=most)), encoding=encoding).read()


def file_stamp(path: Path) -> tuple[int, int] | None:
    """Time and size of a file, so that a cache notices edits; None if it does not exist. Raises OSError if one cannot know."""
    try:
        status = _status(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_mtime_ns, status.st_size


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except ValueError as error:  # a null byte, or a letter that the file system's encoding does not have
        raise OSError(errno.EINVAL, f"No file can have this name ({error})", str(path)) from None


def relative_hint() -> str:
    """Names the folder that relative paths refer to."""
    if working_directory_is_gone():
        return "The working directory was deleted: change to another one with cd."
    return f"Paths are relative to the working directory, {Path.cwd()}."


@contextmanager
def system_errors(kind: type[ProbeError]) -> Iterator[None]:
    """Turn an OSError into `system_error`."""
    try:
        yield
    except OSError as error:
        raise system_error(error, kind) from error


def system_error(error: OSError, kind: type[ProbeError] = UsageError) -> ProbeError:
    """The error to raise for an OSError: of `kind` if a path cannot be used, and of a kind of its own if the disk is full, too
    many files are open, or the working directory was deleted."""
    if error.errno in _DISK_FULL:
        return DiskFullError(
            f"{error.filename or 'A file'} cannot be written: the disk is full.", hint="Free some space."
        )
    if error.errno == errno.EMFILE:
        hint = "Raise the limit before the command: ulimit -n 1024. Fewer workers open fewer files."
        return ProbeError(f"{reason(error)}.", hint=hint)
    if error.filename is not None:
        return kind(f"{error.filename} cannot be used: {reason(error)}.")
    if working_directory_is_gone():
        return UsageError("The working directory was deleted.", hint="Change to another one with cd, and run again.")
    return kind(f"The operating system refused: {reason(error)}.")


def reason(error: OSError) -> str:
    """Why the system refused, without the error's number and path. Names the limit if too many files are open."""
    text = error.strerror or str(error)
    if error.errno != errno.EMFILE or sys.platform == "win32":
        return text
    import resource

    return f"{text}: the limit of this process is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]} (`ulimit -n`)"


def working_directory_is_gone() -> bool:
    """Whether the folder in which this process runs was deleted."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{16}\.tmp")


def temporary_path(path: Path) -> Path:
    """A new name for the unfinished content of `path`, in the same folder. It is unique, also in a folder that several
    machines share."""
    return path.with_name(f".{path.name[:_KEPT_LETTERS]}.{secrets.token_hex(8)}.tmp")


def finished_name(name: str) -> str:
    """The name of the file whose unfinished content is in a file with this name; `name` itself for any other file.
    Of a longer name, its first letters."""
    match = _TEMPORARY.fullmatch(name)
    return name if match is None else match[1]


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield the path of a new, empty file in the folder of `path`; after the block, sync that file, rename it to `path` and
    sync the folder. If the block raises, the file is removed. The mode is what the umask says, whatever the writer sets."""
    temporary = temporary_path(path)
    try:
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)
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
    with atomic_path(path) as temporary, temporary.open("wb") as file:
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
    buffer, table = io.StringIO(newline=""), [header, *rows]
    # Python quotes the characters of its own line ends only, but readers take a carriage return for one.
    has_return = any(isinstance(cell, str) and "\r" in cell for row in table for cell in row)
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL)
    writer.writerows(table)
    write_text(path, buffer.getvalue())


def write_error(what: str, path: Path, error: Exception) -> OutputError:
    """The error to raise if `path`, a `what` such as "checkpoint", cannot be written: DiskFullError if the disk or a quota is
    full."""
    cause: BaseException | None = error
    while cause is not None:  # while it handles an OSError, PyTorch's writer raises a RuntimeError
        if isinstance(cause, OSError) and cause.errno in _DISK_FULL:
            return DiskFullError(f"The {what} {path} cannot be written: the disk is full.", hint="Free some space.")
        cause = cause.__cause__ or cause.__context__
    why = reason(error) if isinstance(error, OSError) else error
    return OutputError(
        f"The {what} {path} cannot be written: {why}", hint="Check that its folder exists and is writable."
    )


def move_file(source: Path, target: Path) -> None:
    """Move a file, also to another filesystem. Readers of `target` see the old file or the whole new one. Raises OSError."""
    with source.open("rb") as content, atomic_file(target) as file:
        shutil.copyfileobj(content, file)
    source.unlink(missing_ok=True)
