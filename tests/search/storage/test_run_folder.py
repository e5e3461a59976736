"""Room for checkpoints on a disk that runs short: a real one of 8 MiB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kept_searches import search
from made_recipes import blobs_recipe
from rung_jobs import job
from small_disks import mounted

from probe.errors import DiskFullError, OutputError
from probe.search.find import find_hyperparameters
from probe.search.jobs.checkpoint_files import checkpoint_path
from probe.search.jobs.trial import run_rung
from probe.search.records.search import BudgetLimits
from probe.search.storage.folder import CheckpointFolder
from probe.search.study.kept_checkpoints import expendable
from probe.search.study.state import SearchState
from probe.training.checkpoint import save_checkpoint

pytestmark = pytest.mark.usefixtures("warm_workers")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk") as folder:
        yield folder


@pytest.fixture
def paused() -> SearchState:
    return search(limits=BudgetLimits(trials=12), num_slots=1).state


def fill(folder: Path, state: SearchState, num_bytes: int) -> list[Path]:
    """A checkpoint of every paused trial that may go, the first to go first."""
    paths = [checkpoint_path(folder, trial.number, epochs) for trial, epochs in expendable(state)]
    for path in paths:
        path.write_bytes(b"x" * num_bytes)
    return paths


def test_with_room_enough_nothing_goes(tmp_path: Path, paused: SearchState) -> None:
    paths = fill(tmp_path, paused, 10)
    folder = CheckpointFolder(tmp_path)
    assert folder.free_disk(paused) == 0
    assert all(path.exists() for path in paths)
    assert folder.warnings == []


def test_after_a_write_that_failed_the_worst_one_goes_and_only_checkpoints_do(
    tmp_path: Path, paused: SearchState
) -> None:
    paths = fill(tmp_path, paused, 10)
    mine = tmp_path / "trial-of-mine.pt"
    mine.write_bytes(b"x")
    folder = CheckpointFolder(tmp_path)
    assert folder.free_disk(paused, has_failed=True) == 1
    assert [path.exists() for path in paths] == [False] + [True] * (len(paths) - 1)
    assert mine.exists()
    [warning] = folder.warnings
    assert "1 checkpoints of paused trials" in warning


def test_a_missing_folder_is_no_error(tmp_path: Path, paused: SearchState) -> None:
    assert CheckpointFolder(tmp_path / "gone").free_disk(paused, has_failed=True) == 0


def test_a_file_on_the_same_disk_is_written_once_checkpoints_made_room(small_disk: Path, paused: SearchState) -> None:
    paths = fill(small_disk, paused, 400_000)
    assert len(paths) > 5
    folder = CheckpointFolder(small_disk)
    folder.write_beside(paused, lambda: save_checkpoint(small_disk / "stage", {"bytes": "y" * 6_000_000}))
    assert not paths[0].exists()
    with pytest.raises(DiskFullError):
        folder.write_beside(paused, lambda: save_checkpoint(small_disk / "stage", {"bytes": "y" * 9_000_000}))
    assert not any(path.exists() for path in paths)
    with pytest.raises(DiskFullError):
        folder.write_beside(None, lambda: save_checkpoint(small_disk / "stage", {"bytes": "y" * 9_000_000}))


def test_other_errors_of_writing_are_no_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as raised:
        save_checkpoint(tmp_path / "no" / "folder", {})
    assert not isinstance(raised.value, DiskFullError)


def test_a_rung_whose_checkpoint_finds_no_room_is_finished_all_the_same(small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(b"x" * (8 * 2**20 - 4096))
    where = small_disk / "checkpoint"
    report = run_rung(job(checkpoint_out=where))
    assert (report.outcome, report.is_unsaved) == ("finished", True)
    assert "disk is full" in (report.message or "")
    assert sorted(path.name for path in small_disk.iterdir()) == ["filler"]
    (small_disk / "filler").unlink()
    again = run_rung(job(checkpoint_out=where))
    assert (again.outcome, again.is_unsaved, again.message) == ("finished", False, None)


def test_a_search_on_a_disk_that_is_too_small_goes_on_to_its_end(small_disk: Path) -> None:
    recipe = blobs_recipe(
        search={"sampler": "random", "fidelity": {"min": 1, "max": 3, "factor": 3}}, budget={"trials": 5}
    )
    result = find_hyperparameters(recipe, device="cpu", num_workers=1, folder=small_disk)
    assert result.stopped_by == "trials"
    assert "checkpoints of paused trials were deleted" in " ".join(result.warnings)
    assert {trial.status for trial in result.trials} == {"complete", "stopped"}
    assert all(trial.lost_epochs == 0 for trial in result.trials)
