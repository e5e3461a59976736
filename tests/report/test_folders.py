from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.errors import OutputError
from probe.report.shared.wording import file_name
from probe.report.store import default_folder, newest_folder, prepare_folder

NOON = datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC)


def test_the_default_folder_is_name_and_utc_time(tmp_path: Path) -> None:
    assert default_folder("mnist", NOON) == Path("reports/mnist-20260131T120005Z")
    assert default_folder("mnist", NOON.astimezone(timezone(timedelta(hours=5)))) == default_folder("mnist", NOON)
    assert default_folder("pkg.mytask:task", NOON, parent=tmp_path).name == "pkg.mytask-task-20260131T120005Z"


def test_two_runs_in_one_second_get_two_folders(tmp_path: Path) -> None:
    folders = [prepare_folder(default_folder("mnist", NOON, parent=tmp_path)) for _ in range(3)]
    assert len(set(folders)) == 3
    assert sorted(tmp_path.iterdir()) == sorted(folders)


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
        folder = default_folder("mytask:task", now, parent=tmp_path)
        prepare_folder(folder)
        names.append(folder.name)
    assert names == [f"mytask-task-20260131T120005Z{end}" for end in ("", "-2", "-3")]
    assert newest_folder("mytask:task", parent=tmp_path) == tmp_path / names[-1]
