"""On a network file system the database has no write-ahead log."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from probe.errors import OutputError
from probe.search.jobs.jobs import RungReport
from probe.search.records.search import DATABASE_FILE
from probe.search.storage import connection
from probe.search.storage.connection import make_durable
from probe.search.storage.database import SearchDatabase
from probe.search.storage.mounts import is_on_network, mounts, uses_log
from probe.search.study.events import TrialEnded, TrialStarted

MOUNTS = [
    ("/", "ext4"),
    ("/home", "nfs4"),
    ("/home/ann/scratch", "xfs"),
    ("/lustre", "lustre"),
    ("/data", "autofs"),
    ("/data", "cifs"),
    ("/remote", "fuse.sshfs"),
    ("/tmp", "tmpfs"),
    ("/covered", "nfs"),
    ("/covered", "ext4"),
]


@pytest.mark.parametrize(
    ("path", "is_remote"),
    [
        ("/var/run", False),
        ("/home/ann/run", True),
        ("/home/ann/scratch/run", False),
        ("/homework/run", False),
        ("/lustre", True),
        ("/data/run", True),
        ("/remote/a/b", True),
        ("/tmp/run", False),
        ("/covered/run", False),
    ],
)
def test_the_mount_that_holds_a_path_decides(path: str, is_remote: bool) -> None:
    assert is_on_network(PurePosixPath(path), MOUNTS) == is_remote


def test_without_a_list_of_mounts_every_path_is_local() -> None:
    assert not is_on_network(PurePosixPath("/home"), [])


def test_the_mounts_of_this_machine_are_listed(tmp_path: Path) -> None:
    assert any(tmp_path.resolve().is_relative_to(point) for point, _ in mounts())


def test_on_a_network_file_system_rows_are_in_the_file_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "uses_log", lambda path: False)
    path = tmp_path / DATABASE_FILE
    with SearchDatabase.create(path, {}) as database:
        assert database._connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert database._connection.execute("PRAGMA synchronous").fetchone() == (3,)
        database.append(TrialStarted(number=0, rung=0), 1.0)
        assert [file.name for file in tmp_path.iterdir()] == [DATABASE_FILE]
        (tmp_path / "copy").write_bytes(path.read_bytes())
        with SearchDatabase.open(tmp_path / "copy", to_write=False) as copy:
            assert (list(copy.events()), copy.log_warning) == ([TrialStarted(number=0, rung=0)], None)


class Refusing(sqlite3.Connection):
    """A connection to a file system without shared memory, or on which SQLite keeps its journal in `mode`."""

    mode: str | None = None

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if sql == "PRAGMA journal_mode = WAL" or (self.mode is not None and sql.startswith("PRAGMA journal_mode")):
            if self.mode is None:
                raise sqlite3.OperationalError("unable to open database file")
            return super().execute(f"SELECT '{self.mode}'")
        return super().execute(sql, *args)


def test_where_sqlite_cannot_make_a_log_it_goes_on_without(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x", factory=Refusing)) as made:
        make_durable(made, tmp_path / "x")
        assert made.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert made.execute("PRAGMA synchronous").fetchone() == (3,)


@pytest.mark.parametrize(
    ("mode", "is_durable"), [("truncate", True), ("persist", True), ("memory", False), ("off", False)]
)
def test_another_journal_is_accepted_if_it_survives_a_kill(tmp_path: Path, mode: str, is_durable: bool) -> None:
    with closing(sqlite3.connect(tmp_path / "x", factory=Refusing)) as made:
        made.mode = mode
        if is_durable:
            make_durable(made, tmp_path / "x")
        else:
            with pytest.raises(sqlite3.OperationalError, match=f"mode {mode}"):
                make_durable(made, tmp_path / "x")


def test_at_the_end_of_a_rung_the_file_alone_is_the_search(tmp_path: Path) -> None:
    assert uses_log(tmp_path)
    path, copy = tmp_path / DATABASE_FILE, tmp_path / "copy"
    started, ended = TrialStarted(number=0, rung=0), TrialEnded(number=0, report=RungReport(outcome="oom", seconds=0.5))
    with SearchDatabase.create(path, {"name": "blobs"}) as database:
        for event, num_stored in ((started, 0), (ended, 2), (started, 2)):
            database.append(event, 1.0)
            copy.write_bytes(path.read_bytes())
            with SearchDatabase.open(copy, to_write=False) as read:
                assert len(list(read.events())) == num_stored
                assert "search" not in (read.log_warning or "") or "copy-wal" in (read.log_warning or "")
        database.save("load", TrialStarted(number=1, rung=0), 1.0)
        copy.write_bytes(path.read_bytes())
        with SearchDatabase.open(copy, to_write=False) as read:
            assert (len(list(read.events())), read.stage_names()) == (3, ["load"])
    assert [file.name for file in tmp_path.glob("search*")] == [DATABASE_FILE]


def test_a_copy_without_the_log_is_told_and_one_with_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_FILE
    with SearchDatabase.create(path, {"name": "blobs"}) as database:
        database.append(TrialStarted(number=0, rung=0), 1.0)
        for folder, names in (("torn", [path.name]), ("whole", [path.name, f"{path.name}-wal"])):
            (tmp_path / folder).mkdir()
            for name in names:
                (tmp_path / folder / name).write_bytes((tmp_path / name).read_bytes())
    found = {}
    for folder in ("torn", "whole", "."):
        with SearchDatabase.open(tmp_path / folder / DATABASE_FILE, to_write=False) as read:
            found[folder] = (len(list(read.events())), read.lacks_log)
    assert found == {"torn": (0, True), "whole": (1, False), ".": (1, False)}
    with SearchDatabase.open(tmp_path / "torn" / DATABASE_FILE, to_write=True) as read:
        assert "search.sqlite-wal" in (read.log_warning or "")


def test_a_reader_does_not_stop_the_search_when_its_log_is_folded(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_FILE
    with SearchDatabase.create(path, {}) as database, closing(sqlite3.connect(path)) as reader:
        database.append(TrialStarted(number=0, rung=0), 1.0)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (1,)
        database.append(TrialEnded(number=0, report=RungReport(outcome="oom", seconds=0.5)), 1.0)
        reader.execute("COMMIT")
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (2,)


def test_a_file_that_cannot_be_created_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / DATABASE_FILE
    monkeypatch.setattr("probe.search.storage.database.TABLES", "CREATE TABLE search (key, value); CREATE nonsense;")
    with pytest.raises(OutputError):
        SearchDatabase.create(path, {})
    assert list(tmp_path.iterdir()) == []
