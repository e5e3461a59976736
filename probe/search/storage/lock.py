"""One process per run: a file lock, which the operating system releases when its holder dies."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from probe.errors import OutputError

LOCK_FILE = "search.lock"
"""Name of the lock file beside the database. It contains the process id of its holder."""


class RunLock:
    """The lock of a run, held until `close`. Child processes do not inherit it, so a killed driver releases it at
    once."""

    def __init__(self, folder: Path) -> None:
        """Lock the run in `folder`. Raises OutputError if another process holds the lock, or if it cannot be made."""
        self._path = folder / LOCK_FILE
        self._lock = FileLock(self._path, timeout=0, mode=0o644)
        try:
            self._lock.acquire()
        except Timeout:
            raise OutputError(
                f"The search in {folder} is being run by {self._holder()}.",
                hint="Wait until it ends, or stop it: a run cannot be shared by two processes.",
            ) from None
        except OSError as error:
            raise OutputError(
                f"The lock {self._path} cannot be taken: {error.strerror or error}.",
                hint="Use a folder that you may write to, on a disk that supports file locks.",
            ) from error
        with suppress(PermissionError):  # Windows: a locked file cannot be written
            self._path.write_text(str(os.getpid()))

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock and remove its file."""
        with suppress(PermissionError):  # Windows: an open file cannot be removed
            self._path.unlink(missing_ok=True)
        self._lock.release()

    def _holder(self) -> str:
        with suppress(OSError):
            text = self._path.read_text()
            if text.isdigit():
                return f"process {text}"
        return "another process"
