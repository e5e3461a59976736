"""The folder of a search's checkpoints: deleting them, and making room on its disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from probe.errors import DiskFullError
from probe.search.jobs.jobs import checkpoint_path
from probe.search.study.kept_checkpoints import expendable
from probe.search.study.state import SearchState, Trial

SPARE_BYTES = 16 * 2**20
"""Free space that is left for the database and the report."""


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
        """Delete checkpoints of paused trials, the worst first, until the disk has room for those of all running jobs.

        Each is assumed to be as large as the largest so far.

        Args:
            state: the state of the search.
            has_failed: the disk was full. Then at least one checkpoint is deleted, even if the file system reports free
                space, since a quota does not show there.

        Returns:
            The number of deleted checkpoints.
        """
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
        """Call `write` for another file on the same disk, deleting checkpoints while the disk is full.

        Raises DiskFullError if no checkpoint is left to delete.
        """
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
