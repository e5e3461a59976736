"""The folder of a run: its lock, its checkpoints, and room for them on the disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from probe.errors import DiskFullError, OutputError
from probe.search.jobs.jobs import checkpoint_path
from probe.search.storage.connection import LOCK_FILE
from probe.search.study.kept_checkpoints import expendable
from probe.search.study.state import SearchState, Trial

SPARE_BYTES = 16 * 2**20
"""Free space that is left for the database and the report."""


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a file lock on a run. Child processes do not inherit it, so a killed driver releases it at once. Raises OutputError
    if another process holds the lock, or if it cannot be made."""
    path = folder / LOCK_FILE
    lock = FileLock(path, timeout=0, mode=0o644)
    try:
        lock.acquire()
    except Timeout:
        raise OutputError(
            f"The search in {folder} is being run by {_holder(path)}.",
            hint="Wait until it ends, or stop it: a run cannot be shared by two processes.",
        ) from None
    except OSError as error:
        raise OutputError(
            f"The lock {path} cannot be taken: {error.strerror or error}.",
            hint="Use a folder that you may write to, on a disk that supports file locks.",
        ) from error
    try:
        with suppress(
            OSError
        ):  # Windows: a locked file cannot be written; the number is for messages, the disk may be full
            path.write_text(str(os.getpid()))
        yield
    finally:
        with suppress(PermissionError):  # Windows: an open file cannot be removed
            path.unlink(missing_ok=True)
        lock.release()


def _holder(path: Path) -> str:
    with suppress(OSError):
        text = path.read_text()
        if text.isdigit():
            return f"process {text}"
    return "another process"


class CheckpointFolder:
    """Deletes checkpoints only, by the names that `checkpoint_path` gives them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._num_dropped = 0
        self._num_failed = 0

    def discard(self, trial: Trial, epochs: int) -> bool:
        """Delete a checkpoint; return whether there was one. A file that cannot be deleted is left."""
        path = checkpoint_path(self.path, trial.number, epochs)
        with suppress(OSError):
            path.unlink()
            return True
        return False

    def free_disk(self, state: SearchState, *, has_failed: bool = False) -> int:
        """Delete checkpoints of paused trials, the worst first, until the disk has room for those of all running jobs, each as
        large as the largest so far. With `has_failed`, delete at least one: the file system does not show a quota."""
        self._num_failed += has_failed
        wanted = SPARE_BYTES + max(1, len(state.running)) * self._largest_bytes()
        num_deleted = 0
        for trial, epochs in expendable(state):
            if (num_deleted or not has_failed) and self._free_bytes() >= wanted:
                break
            num_deleted += self.discard(trial, epochs)
        self._num_dropped += num_deleted
        return num_deleted

    def write_beside(self, state: SearchState | None, write: Callable[[], None]) -> None:
        """Call `write` for another file on the same disk, deleting checkpoints while the disk is full."""
        while True:
            try:
                return write()
            except DiskFullError:
                if state is None or not self.free_disk(state, has_failed=True):
                    raise

    @property
    def warning(self) -> str | None:
        """A warning if the disk was too small at any time; None otherwise."""
        if not self._num_dropped and not self._num_failed:
            return None
        return (
            f"The disk of {self.path} was too small ({self._num_failed} failed writes): {self._num_dropped} checkpoints of "
            "paused trials were deleted, the worst trials' first. If such a trial is promoted, it is trained again from "
            "its seed, which takes longer but changes no result."
        )

    def _largest_bytes(self) -> int:
        sizes = [0]
        for path in self.path.glob("trial-*.pt"):
            with suppress(OSError):  # files may be replaced or deleted meanwhile
                sizes.append(path.stat().st_size)
        return max(sizes)

    def _free_bytes(self) -> float:
        try:
            return shutil.disk_usage(self.path).free
        except OSError:
            return float("inf")
