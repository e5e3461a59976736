"""The folder of a run: its lock, its checkpoints, and room for them on the disk."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from probe.errors import DiskFullError, OutputError
from probe.search.jobs.checkpoint_files import checkpoint_path, is_own_file
from probe.search.records.search import DATABASE_FILE
from probe.search.storage.connection import LOCK_FILE
from probe.search.study.kept_checkpoints import expendable
from probe.search.study.state import SearchState
from probe.search.study.trial import Trial

CHECKPOINTS = "checkpoints"
"""Name of the folder of checkpoints in a run's folder."""
_NAME_IN_STORAGE = re.compile(rf"[^/\\\0]*-{CHECKPOINTS}-[0-9a-f]{{8}}")
SPARE_BYTES = 16 * 2**20
"""Free space that is left for the database and the report."""


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a file lock on a run. Child processes do not inherit it, so a killed driver releases it at once. Raises OutputError
    if another process holds the lock, or if it cannot be made."""
    path = folder / LOCK_FILE
    lock = FileLock(path, timeout=0)
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
    """The folder of a run's checkpoints, the only place where a search deletes them. Only files with the names that probe
    gives are deleted, and only directly in this folder: not in subfolders, nor through a symbolic link."""

    def __init__(self, path: Path, *, is_given: bool = True) -> None:
        """`is_given`: whether the path follows from the command line. If it was read from a file, nothing is deleted."""
        self.path = path
        self._is_given = is_given
        self._num_dropped = 0
        self._num_failed = 0

    def create(self) -> None:
        """Create the folder. Raises OutputError if that fails."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"The folder for checkpoints, {self.path}, cannot be created: {error}",
                hint="Use another one with --storage.",
            ) from None

    @property
    def may_delete(self) -> bool:
        return self._is_given and not self.path.is_symlink()

    def discard(self, trial: Trial, epochs: int) -> bool:
        """Delete a checkpoint; return whether there was one. A file that cannot be deleted is left."""
        return self._delete(checkpoint_path(self.path, trial.number, epochs).name)

    def clear(self, *, kept: Collection[Path] = ()) -> int:
        """Delete all files that probe made, except those in `kept`; return their number."""
        if not self.may_delete:
            return 0
        try:
            names = [path.name for path in self.path.iterdir() if path not in kept]
        except OSError:
            return 0
        return sum(map(self._delete, names))

    def remove(self) -> None:
        """Delete all files that probe made, then the folder if it is empty."""
        self.clear()
        if self.may_delete:
            with suppress(OSError):
                self.path.rmdir()

    def _delete(self, name: str) -> bool:
        with suppress(OSError):
            if self.may_delete and is_own_file(name):
                (self.path / name).unlink()
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
    def warnings(self) -> list[str]:
        """Warnings if the disk was too small at any time, or if no checkpoint was deleted."""
        found = []
        if not self.may_delete:
            reason = (
                "it is a symbolic link"
                if self.path.is_symlink()
                else f"it was not given with this command; with --storage {self.path.parent}, it is cleared at the end"
            )
            found.append(f"No checkpoint in {self.path} was deleted, because {reason}.")
        if self._num_dropped or self._num_failed:
            found.append(
                f"The disk of {self.path} was too small ({self._num_failed} failed writes): {self._num_dropped} checkpoints of "
                "paused trials were deleted, the worst trials' first. If such a trial is promoted, it is trained again from "
                "its seed, which takes longer but changes no result."
            )
        return found

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


def new_name_in_storage(folder: Path) -> str:
    """A unique name for the checkpoints of the run in `folder`, since several searches may share a storage."""
    return f"{folder.name}-{CHECKPOINTS}-{secrets.token_hex(4)}"


def folder_of_checkpoints(
    folder: Path, storage: Path | None, rows: Mapping[str, str], *, is_given: bool
) -> CheckpointFolder:
    """The checkpoints of the run in `folder`: there, or in `storage` by the name in the `rows` of its database. Raises
    OutputError for a name that probe does not give. `is_given` is that of CheckpointFolder."""
    if storage is None:
        return CheckpointFolder(folder / CHECKPOINTS)
    name = rows.get("name_in_storage", "")
    if _NAME_IN_STORAGE.fullmatch(name) is None:
        raise OutputError(
            f"{folder / DATABASE_FILE} is damaged: it names the folder of its checkpoints in {storage} {name!r}, which is "
            f"not of the form NAME-{CHECKPOINTS}-XXXXXXXX.",
            hint="Restore the file from a backup, or start a new search.",
        )
    return CheckpointFolder(storage.absolute() / name, is_given=is_given)
