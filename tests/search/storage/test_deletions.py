"""What a search deletes: files with the names that probe gives them, in its own folder or in the storage that it was given."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_searches import search
from made_recipes import blobs_recipe

from probe.device.select import DeviceSpec
from probe.errors import OutputError
from probe.files import finished_name, temporary_path
from probe.search.jobs.checkpoint_files import WEIGHTS_FILE, checkpoint_path, is_own_file, node_probe_path
from probe.search.records.search import DATABASE_FILE, BudgetLimits
from probe.search.session import SearchRequest, SearchSession, open_session
from probe.search.storage.folder import CHECKPOINTS, CheckpointFolder
from probe.search.storage.schema import END, StudyEnded

CHECKPOINT = "trial-00003-epoch-00009.pt"
UNFINISHED = f".{CHECKPOINT}.0123456789abcdef.tmp"
FOREIGN = [
    "notes.txt",
    WEIGHTS_FILE,
    "trial-3-epoch-9.pt",
    "trial-000003-epoch-00009.pt",
    "trial-00003-epoch-00009.pt.bak",
    "my-trial-00003-epoch-00009.pt",
    "trial-00003-epoch-00009.PT",
    "trial-٠٠٠٠٣-epoch-00009.pt",
    "trial-00003-epoch-00009.pt\n",
    ".trial-00003-epoch-00009.pt.99.tmp",
    ".notes.txt.0123456789abcdef.tmp",
    ".seen-by-me",
]
numbers = st.integers(0, 10**7)
pieces = st.sampled_from([*"trialepoch-._/\\0123456789", "trial-", "-epoch-", ".pt", ".tmp", "..", "00001", "\n", "é"])
names = st.one_of(st.text(), st.lists(pieces, max_size=12).map("".join))


@given(number=numbers, epochs=numbers, weights=st.booleans())
def test_every_name_that_probe_gives_is_recognized(number: int, epochs: int, weights: bool) -> None:
    path = checkpoint_path(Path(), number, epochs)
    unfinished = temporary_path(Path(WEIGHTS_FILE) if weights else path)
    assert is_own_file(path.name)
    assert is_own_file(unfinished.name)
    assert finished_name(unfinished.name) == (WEIGHTS_FILE if weights else path.name)
    assert is_own_file(node_probe_path(Path(), f"{number:040x}", f"{epochs:032x}").name)


@given(name=names)
def test_a_recognized_name_has_no_folder_in_it_and_is_one_that_probe_gives(name: str) -> None:
    if is_own_file(name):
        assert Path(name).name == name
        assert "\\" not in name
        assert name not in (".", "..")
        finished = finished_name(name)
        if finished.startswith("trial-"):
            _, number, _, epochs = finished.removesuffix(".pt").split("-")
            assert checkpoint_path(Path(), int(number), int(epochs)).name == finished


@pytest.mark.parametrize("name", FOREIGN)
def test_names_that_only_resemble_those_of_probe_are_foreign(name: str) -> None:
    assert not is_own_file(name)


@given(names=st.lists(names, max_size=8))
def test_what_is_foreign_stays_and_the_folder_with_it(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run") / CHECKPOINTS
    folder.mkdir()
    for name in (*names, CHECKPOINT, UNFINISHED):
        if "/" not in name and name not in ("", ".", ".."):
            with suppress(OSError, ValueError):  # too long, or no name at all
                (folder / name).write_bytes(b"x")
    foreign = {path.name for path in folder.iterdir() if not is_own_file(path.name)}
    CheckpointFolder(folder).remove()
    assert folder.exists() == bool(foreign)
    assert {path.name for path in (folder.iterdir() if foreign else ())} == foreign


def test_folders_are_not_entered_and_links_not_followed(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / CHECKPOINTS
    for made in (outside, folder, folder / "mine", folder / "trial-00001-epoch-00001.pt"):
        made.mkdir()
        (made / CHECKPOINT).write_bytes(b"x")
    (folder / "trial-00002-epoch-00001.pt").symlink_to(outside / CHECKPOINT)
    (folder / "trial-00002-epoch-00003.pt").symlink_to(outside)
    CheckpointFolder(folder).remove()
    assert _files(tmp_path) == [
        f"{CHECKPOINTS}/mine/{CHECKPOINT}",
        f"{CHECKPOINTS}/trial-00001-epoch-00001.pt/{CHECKPOINT}",
        f"outside/{CHECKPOINT}",
    ]
    assert not (folder / "trial-00002-epoch-00001.pt").is_symlink()


@pytest.mark.parametrize("is_linked", [True, False])
def test_nothing_is_deleted_through_a_link_or_in_a_folder_that_was_only_read(tmp_path: Path, is_linked: bool) -> None:
    outside, link = tmp_path / "outside", tmp_path / CHECKPOINTS
    outside.mkdir()
    link.symlink_to(outside)
    folder = CheckpointFolder(link) if is_linked else CheckpointFolder(outside, is_given=False)
    state = search(limits=BudgetLimits(trials=6), num_slots=1).state
    for trial in state.trials:
        checkpoint_path(outside, trial.number, 1).write_bytes(b"x")
        assert not folder.discard(trial, 1)
    before = _files(tmp_path)
    assert folder.free_disk(state, has_failed=True) == folder.clear() == 0
    folder.remove()
    assert _files(tmp_path) == before
    assert link.is_symlink()
    assert ("symbolic link" if is_linked else "--storage") in folder.warnings[0]


@pytest.fixture
def request_in(tmp_path: Path) -> SearchRequest:
    return SearchRequest(
        recipe=blobs_recipe(), device=DeviceSpec(kind="cpu"), data_dir=tmp_path, num_workers=1, folder=tmp_path / "run"
    )


@contextmanager
def ended(request: SearchRequest, *, completed: bool = True) -> Iterator[SearchSession]:
    """A session with a stored stage, which ends as a search does."""
    with open_session(request) as session:
        session.accept()
        session.database.save(END, StudyEnded(stopped_by="interrupted", limits=BudgetLimits()), 0.0)
        yield session
        session.completed = completed


def test_runs_in_one_storage_leave_each_others_files_and_the_users(request_in: SearchRequest, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / CHECKPOINT).write_bytes(b"the user's")
    one, other = (replace(request_in, storage=shared, folder=tmp_path / name / "run") for name in ("one", "other"))
    with ended(one, completed=False) as first, ended(other) as second:
        assert first.checkpoints != second.checkpoints
        for session in (first, second):
            (session.checkpoints / CHECKPOINT).write_bytes(b"x")
    assert _files(shared) == sorted([CHECKPOINT, f"{first.checkpoints.name}/{CHECKPOINT}"])
    again = replace(one, resume=True)
    with ended(replace(again, storage=None)) as session:  # the stored path is used, but nothing is deleted in it
        assert session.checkpoints == first.checkpoints
    assert (first.checkpoints / CHECKPOINT).exists()
    with ended(again):
        pass
    assert _files(shared) == [CHECKPOINT]
    assert [path for path in shared.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    "name", ["", "..", "thesis", "../thesis", "a/run-checkpoints-01234567", "..\\run-checkpoints-01"]
)
@pytest.mark.parametrize("is_given", [True, False])
def test_a_stored_name_that_leads_elsewhere_is_refused(
    request_in: SearchRequest, tmp_path: Path, name: str, is_given: bool
) -> None:
    with ended(request_in, completed=False):
        pass
    storage = tmp_path / "storage"
    for folder in (storage, tmp_path / "thesis", storage / "thesis"):
        folder.mkdir()
        (folder / CHECKPOINT).write_bytes(b"the user's")
    before = _files(tmp_path)
    with sqlite3.connect(tmp_path / "run" / DATABASE_FILE) as rows:
        rows.execute("UPDATE search SET value = ? WHERE key = 'storage'", (str(storage),))
        rows.execute("UPDATE search SET value = ? WHERE key = 'name_in_storage'", (name,))
    rows.close()
    again = replace(request_in, resume=True, storage=storage if is_given else None)
    with pytest.raises(OutputError, match="damaged"), ended(again):
        pass
    assert _files(tmp_path) == before


def test_a_search_that_ends_before_it_began_deletes_only_its_database(
    request_in: SearchRequest, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / f"{DATABASE_FILE}.backup").write_bytes(b"the user's")
    with open_session(request_in) as session:
        (session.checkpoints / "notes.txt").write_bytes(b"the user's")
        assert (run / DATABASE_FILE).exists()
    assert _files(run) == [f"{CHECKPOINTS}/notes.txt", f"{DATABASE_FILE}.backup"]


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
