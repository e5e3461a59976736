"""Where a search may be exported to: a new file, or a storage of Optuna; never into another database."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from made_records import search_result
from small_disks import mounted

from probe.errors import OutputError, ProbeError, UsageError
from probe.search.records.search import SearchResult
from probe.search.samplers.optuna_export import export_to_optuna
from probe.search.samplers.optuna_storage import check_is_optuna, sqlite_file
from probe.search.storage.database import SearchDatabase


@pytest.fixture(scope="module")
def result() -> SearchResult:
    return search_result(num_trials=4, best=None)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a search, in the current folder, with other names for its database beside it."""
    folder = tmp_path / "run"
    folder.mkdir()
    with SearchDatabase.create(folder / "search.sqlite", {"name": "blobs"}):
        pass
    os.link(folder / "search.sqlite", tmp_path / "hard.db")
    (tmp_path / "soft.db").symlink_to(folder / "search.sqlite")
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


SPELLINGS = (
    "sqlite:///run/search.sqlite",
    "sqlite:///./run/../run/search.sqlite",
    "sqlite:////{here}/run/search.sqlite",
    "sqlite+pysqlite:///run/search.sqlite",
    "sqlite:///link/search.sqlite",
    "sqlite:///soft.db",
    "sqlite:///hard.db",
    "sqlite:///file:run/search.sqlite?uri=true",
    "sqlite:///file:run/search%2Esqlite?uri=1",
    "sqlite:///file:/{here}/hard.db?mode=rw&uri=true",
    "sqlite+pysqlite:///file:///{here}/soft.db?uri=true",
    "sqlite:///run/search.sqlite-wal",
    "sqlite:///other/search.sqlite",
)


@pytest.mark.parametrize("storage", SPELLINGS)
def test_the_database_of_a_search_is_refused_in_every_spelling(run: Path, result: SearchResult, storage: str) -> None:
    before = content(run.parent)
    with pytest.raises((OutputError, UsageError), match=r"database of a search|search\.sqlite is reserved"):
        export_to_optuna(result, storage=storage.format(here=str(run.parent).lstrip("/")), study_name="run")
    assert content(run.parent) == before


@pytest.mark.parametrize("kind", ["other tables", "empty", "text", "folder"])
def test_a_file_of_another_kind_is_not_touched(run: Path, result: SearchResult, kind: str) -> None:
    file = run.parent / "x.db"
    if kind == "other tables":
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("CREATE TABLE photos (name)")
    elif kind == "folder":
        file.mkdir()
    else:
        file.write_bytes(b"" if kind == "empty" else b"not a database")
    before = content(run.parent)
    with pytest.raises(OutputError, match="no storage of Optuna"):
        export_to_optuna(result, storage="sqlite:///x.db", study_name="run")
    assert content(run.parent) == before


@pytest.mark.parametrize("storage", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
def test_a_study_in_memory_would_be_lost(result: SearchResult, storage: str) -> None:
    with pytest.raises(UsageError, match="in memory"):
        export_to_optuna(result, storage=storage, study_name="run")


def test_other_databases_are_left_to_optuna() -> None:
    assert sqlite_file("postgresql://host/db") is None
    assert sqlite_file("no url") is None


def test_a_study_is_added_to_an_existing_storage(run: Path, result: SearchResult) -> None:
    storage = "sqlite:///x.db"
    for name in ("one", "two"):
        assert export_to_optuna(result, storage=storage, study_name=name) == 4
    check_is_optuna(Path("x.db").absolute())
    assert sorted(optuna.get_all_study_names(storage)) == ["one", "two"]


def broken(error: BaseException) -> Callable[..., Any]:
    def add_trials(self: optuna.Study, trials: list[optuna.trial.FrozenTrial]) -> None:
        for trial in trials[:2]:
            self.add_trial(trial)
        raise error

    return add_trials


@pytest.mark.parametrize("error", [RuntimeError("database is locked"), KeyboardInterrupt()])
def test_an_export_that_fails_leaves_nothing(
    run: Path, result: SearchResult, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    export_to_optuna(result, storage="sqlite:///old.db", study_name="one")
    monkeypatch.setattr(optuna.Study, "add_trials", broken(error))
    expected = OutputError if isinstance(error, Exception) else KeyboardInterrupt
    for storage in ("sqlite:///old.db", "sqlite:///new.db"):
        with pytest.raises(expected):
            export_to_optuna(result, storage=storage, study_name="two")
    assert optuna.get_all_study_names("sqlite:///old.db") == ["one"]
    assert sorted(path.name for path in run.parent.iterdir()) == ["hard.db", "link", "old.db", "run", "soft.db"]


def test_on_a_full_disk_no_file_is_left(tmp_path: Path, result: SearchResult) -> None:
    with mounted(tmp_path / "disk") as disk:
        (disk / "filler").write_bytes(b"x" * (8 * 2**20 - 60_000))
        with pytest.raises(ProbeError, match="Optuna cannot"):
            export_to_optuna(result, storage=f"sqlite:///{disk}/x.db", study_name="run")
        assert [path.name for path in disk.iterdir()] == ["filler"]
