"""The folder that a search's checkpoints lie in: what is deleted of it, and room on its disk."""

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
"""That are left for the search's file and its report."""


class CheckpointFolder:
    """Deletes only checkpoints, by the name that `checkpoint_path` gives them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._num_dropped = 0
        self._num_failed = 0

    def discard(self, trial: Trial, epochs: int) -> bool:
        """Whether there was one. A file that cannot be deleted stays: at worst it takes room."""
        path = checkpoint_path(self.path, trial.number, epochs)
        with suppress(OSError):
            path.unlink()
            return True
        return False

    def free_disk(self, state: SearchState, *, has_failed: bool = False) -> int:
        """Delete checkpoints of paused trials, the worst first, until those of all running jobs fit on the disk, at the
        largest size so far. Returns how many were deleted.

        `has_failed`: something could not be written for lack of room. Then at least one goes, whatever the file system says
        is free: a quota does not show there.
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
        """Write something else that lies on the same disk, with room made for it while there is any to make. Raises
        DiskFullError after that."""
        while True:
            try:
                return write()
            except DiskFullError:
                if state is None or not self.free_disk(state, has_failed=True):
                    raise

    @property
    def warning(self) -> str | None:
        """None where the disk was never short."""
        if not self._num_dropped and not self._num_failed:
            return None
        return (
            f"The disk of {self.path} ran short: {self._num_dropped} checkpoints of paused trials were deleted, the worst "
            f"first, and {self._num_failed} attempts to write failed. A trial without a checkpoint that is promoted is trained "
            "again from its seed, which takes longer and changes no result."
        )

    def _largest_bytes(self) -> int:
        sizes = [0]
        for path in self.path.glob("trial-*.pt"):
            with suppress(OSError):  # a worker replaces and this process deletes them meanwhile
                sizes.append(path.stat().st_size)
        return max(sizes)

    def _free_bytes(self) -> float:
        try:
            return shutil.disk_usage(self.path).free
        except OSError:
            return float("inf")
