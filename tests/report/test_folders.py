from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.errors import OutputError
from probe.report.shared.wording import file_name
from probe.report.store import make_default_folder, newest_folder, prepare_folder

NOON = datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC)


def test_the_default_folder_is_name_and_utc_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert make_default_folder("mnist", NOON) == Path("reports/mnist-20260131T120005Z")
    later = NOON.astimezone(timezone(timedelta(hours=5)))
    assert make_default_folder("mnist", later) == Path("reports/mnist-20260131T120005Z-2")
    assert make_default_folder("pkg.mytask:task", NOON, parent=tmp_path).name == "pkg.mytask-task-20260131T120005Z"


def test_many_runs_that_start_in_one_second_get_a_folder_each(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(lambda _: make_default_folder("mnist", NOON, parent=tmp_path), range(64)))
    assert len(set(folders)) == 64
    assert sorted(tmp_path.iterdir()) == sorted(folders)


def test_where_reports_is_a_file_there_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "reports").touch()
    with pytest.raises(OutputError, match="cannot be created"):
        make_default_folder("mnist", NOON, parent=tmp_path / "reports")


@pytest.mark.parametrize(
    "left", [("search.lock",), ("search.sqlite",), ("search.sqlite", "search.sqlite-wal", "search.lock")]
)
def test_what_a_full_disk_left_in_the_first_moment_does_not_block_the_next_start(
    tmp_path: Path, left: tuple[str, ...]
) -> None:
    for name in left:
        (tmp_path / name).touch()
    assert prepare_folder(tmp_path) == tmp_path
    (tmp_path / "notes.txt").touch()
    with pytest.raises(OutputError, match="already exists"):
        prepare_folder(tmp_path)


@given(st.text())
def test_any_name_becomes_one_harmless_part_of_a_path(name: str) -> None:
    made = file_name(name)
    assert Path(made).name == made
    assert made.isascii()
    assert not made.startswith(("-", "."))
    assert 0 < len(made) <= 80


def test_prepare_folder_creates_parents(tmp_path: Path) -> None:
    assert prepare_folder(tmp_path / "a" / "b").is_dir()


def test_prepare_folder_refuses_what_exists_even_if_empty(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(OutputError, match="already exists") as refusal:
            prepare_folder(path)
        assert "--out" in (refusal.value.hint or "")


def test_prepare_folder_names_the_folder_and_the_reason_where_it_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "run", tmp_path / ("x" * 300), tmp_path / "a\0b"):
        with pytest.raises(OutputError, match="cannot be created"):
            prepare_folder(path)


def test_a_default_folder_is_named_by_the_run_and_its_time_and_is_always_a_new_one(tmp_path: Path) -> None:
    now = datetime(2026, 1, 31, 13, 0, 5, tzinfo=timezone(timedelta(hours=1)))
    names = []
    for _ in range(3):
        folder = make_default_folder("mytask:task", now, parent=tmp_path)
        (folder / "search.sqlite").touch()
        names.append(folder.name)
    assert names == [f"mytask-task-20260131T120005Z{end}" for end in ("", "-2", "-3")]
    make_default_folder("mytask:task", now, parent=tmp_path)  # of a run without a search
    assert newest_folder("mytask:task", parent=tmp_path) == tmp_path / names[-1]
