"""Files that are there whole or not at all. No PyTorch."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from probe.errors import DiskFullError, OutputError


def unwritten(what: str, path: Path, error: Exception) -> OutputError:
    """The error about a file that could not be written: DiskFullError where there is no room, also by a quota."""
    cause: BaseException | None = error
    while cause is not None:  # PyTorch's writer raises a RuntimeError of its own while it handles the system's error
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return DiskFullError(f"The {what} {path} could not be written: the disk is full.", hint="Free some space.")
        cause = cause.__cause__ or cause.__context__
    return OutputError(f"The {what} {path} could not be written: {error}", hint="Is the disk full?")


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Written under a temporary name, synced, renamed at the end: a reader sees the old file or the new one, never half, and
    nothing is left where writing raises. The name is this process's own, also in a folder that several machines share."""
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError):
        temporary.unlink(missing_ok=True)
        raise


def move_file(source: Path, target: Path) -> None:
    """Move a file, also to another filesystem. Readers of `target` see the old file or the whole new one. Raises OSError."""
    with source.open("rb") as content, whole_file(target) as file:
        shutil.copyfileobj(content, file)
    source.unlink(missing_ok=True)
