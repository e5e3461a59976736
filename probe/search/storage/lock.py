"""One process for each run: a lock that the operating system takes back when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from types import TracebackType

from probe.errors import OutputError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_FILE = "search.lock"
"""Beside the database; it holds the number of the process that holds it."""
_LOCKED_BYTE = 1 << 20
"""On Windows a locked byte cannot be read by others: one far behind the number is taken."""


class RunLock:
    """Held from its making to `close`. Child processes do not inherit it, so that a killed driver frees it at once."""

    def __init__(self, folder: Path) -> None:
        """Take the lock of the run in `folder`. Raises OutputError where another process has it or none can be made."""
        self._path = folder / LOCK_FILE
        try:
            self._descriptor = self._take()
        except OSError as error:
            raise OutputError(
                f"The lock {self._path} cannot be taken: {error.strerror or error}.",
                hint="Is the folder on a disk that you may write to, and that can lock files?",
            ) from error
        os.truncate(self._descriptor, 0)
        os.write(self._descriptor, str(os.getpid()).encode())

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give it back and remove its file."""
        if sys.platform == "win32":  # an open file cannot be removed there
            os.close(self._descriptor)
            with contextlib.suppress(OSError):
                self._path.unlink()
        else:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)

    def _take(self) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            if not _lock(descriptor):
                holder = os.pread(descriptor, 20, 0).decode(errors="replace") if hasattr(os, "pread") else ""
                os.close(descriptor)
                who = f"process {holder}" if holder.isdigit() else "another process"
                raise OutputError(
                    f"The search in {self._path.parent} is being run by {who}.",
                    hint="Wait for its end or stop it; two processes never share a run.",
                )
            # Its last holder may have removed the file between our opening and our locking it: then a third process
            # could lock a new one of the same name.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(self._path)):
                    return descriptor
            os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Whether it was free. Raises OSError where the file system cannot lock."""
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
