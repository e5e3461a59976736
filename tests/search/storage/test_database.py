from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_disks import mounted
from stored_searches import decisions, num_repeated_rungs, stored_events, work_on

from probe.errors import OutputError
from probe.search.jobs.jobs import RungReport
from probe.search.records.search import DATABASE_FILE
from probe.search.storage.database import SearchDatabase
from probe.search.study.events import EpochReported, Event, SearchResumed, TrialEnded, TrialStarted, TrialSuggested
from probe.training.records import EpochReport

REPORT = EpochReport(epoch=1, train_loss=0.1 + 0.2, val_loss=None, metrics={"accuracy": 1 / 3}, seconds=0.5)
VALUES = st.one_of(
    st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
PARAMS = st.dictionaries(st.text(min_size=1), VALUES, max_size=4)
EVENTS = st.one_of(
    st.builds(TrialSuggested, number=st.integers(0, 99), positions=PARAMS, params=PARAMS, seed=st.integers(0, 2**63)),
    st.builds(TrialStarted, number=st.integers(0, 99), rung=st.integers(0, 9)),
    st.just(EpochReported(number=3, report=REPORT)),
    st.builds(
        TrialEnded,
        number=st.integers(0, 99),
        report=st.builds(RungReport, outcome=st.sampled_from(["finished", "oom"]), seconds=st.floats(0, 9)),
    ),
    st.builds(SearchResumed, after=st.sampled_from([None, "interrupted", "failures"])),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    work_on(folder, sampler="random")
    return folder


@settings(deadline=None, max_examples=60)
@given(events=st.lists(EVENTS, max_size=6))
def test_what_is_written_is_read_again_to_the_bit(events: list[Event]) -> None:
    with SearchDatabase.create(Path(":memory:"), {}) as database:
        for event in events:
            database.append(event, 1.5)
        read = list(database.events())
    assert read == events
    assert repr(read) == repr(events)  # 1, 1.0 and True are equal


def test_another_process_sees_every_row_at_once_in_columns_that_one_can_read(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_FILE
    with SearchDatabase.create(path, {"name": "it's"}) as database:
        database.append(TrialSuggested(number=0, positions={"x": 0.5}, params={"x": 0.5, "kind": "a"}, seed=1), 0.5)
        database.append(TrialStarted(number=0, rung=0), 0.6)
        database.append(EpochReported(number=0, report=REPORT), 1.0)
        database.append(TrialEnded(number=0, report=RungReport(outcome="finished", seconds=0.7)), 1.1)
        reader = sqlite3.connect(path)
        assert reader.execute("SELECT trial, last_rung_started, epochs, last_outcome FROM trials").fetchall() == [
            (0, 0, 1, "finished")
        ]
        assert reader.execute("SELECT train_loss, val_loss, epoch FROM reported").fetchall() == [(0.1 + 0.2, None, 1)]
        assert json.loads(reader.execute("SELECT params FROM suggested").fetchone()[0]) == {"x": 0.5, "kind": "a"}
        assert reader.execute("SELECT value FROM search WHERE key = 'name'").fetchone() == ("it's",)
        assert reader.execute("SELECT rung FROM started").fetchone() == (0,)
        assert reader.execute("SELECT outcome, rung_seconds FROM ended").fetchone() == ("finished", 0.7)
        reader.close()
        assert database.seconds() == 1.1


def test_rows_are_synced_before_they_count(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_FILE
    SearchDatabase.create(path, {}).close()
    with SearchDatabase.open(path, to_write=True) as database:
        assert database._connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert database._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("damage", ["cut", "overwritten", "garbage", "empty", "text"])
def test_a_damaged_file_is_one_clear_sentence(finished: Path, tmp_path: Path, damage: str) -> None:
    whole = (finished / DATABASE_FILE).read_bytes()
    spoiled = {
        "cut": whole[: len(whole) // 2],
        "overwritten": whole[:8192] + b"\xff" * 8192 + whole[16384:],
        "garbage": bytes(range(256)) * 64,
        "empty": b"",
        "text": b"SQLite is not this",
    }[damage]
    (tmp_path / DATABASE_FILE).write_bytes(spoiled)
    with pytest.raises(OutputError, match=r"is damaged|contains no search") as raised:
        SearchDatabase.open(tmp_path / DATABASE_FILE, to_write=True)
    assert "\n" not in raised.value.message
    assert raised.value.hint is not None


@pytest.mark.parametrize("kept", [0, 5000])
def test_who_reads_a_damaged_file_is_not_sent_to_the_report_that_failed(
    finished: Path, tmp_path: Path, kept: int
) -> None:
    whole = (finished / DATABASE_FILE).read_bytes()
    (tmp_path / DATABASE_FILE).write_bytes(whole[:kept] or b"SQLite is not this" * 99)

    def read() -> None:
        with SearchDatabase.open(tmp_path / DATABASE_FILE, to_write=False) as database:
            list(database.events())

    with pytest.raises(OutputError, match=r"is damaged: ") as raised:
        read()
    assert "probe report" not in (raised.value.hint or "")


def test_of_a_cut_file_the_beginning_is_read(finished: Path, tmp_path: Path) -> None:
    whole = (finished / DATABASE_FILE).read_bytes()
    (tmp_path / DATABASE_FILE).write_bytes(whole[: len(whole) * 3 // 4])
    with SearchDatabase.open(tmp_path / DATABASE_FILE, to_write=False, lenient=True) as database:
        read = list(database.events())
        assert database.damage
    events = stored_events(finished)
    assert 0 < len(read) < len(events)
    assert read == events[: len(read)]


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_FILE
    SearchDatabase.create(path, {}).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(OutputError, match="schema 99"):
        SearchDatabase.open(path, to_write=True)


def test_an_unknown_event_is_damage(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_FILE
    with SearchDatabase.create(path, {}) as database:
        database._connection.execute("INSERT INTO events (seconds, kind, record) VALUES (0, 'dreamed', '{}')")
        with pytest.raises(OutputError, match="event 1 has a kind"):
            list(database.events())


def test_a_file_opened_to_read_is_never_written(finished: Path) -> None:
    with SearchDatabase.open(finished / DATABASE_FILE, to_write=False) as database:
        with pytest.raises(OutputError, match="readonly"):
            database.append(TrialStarted(number=0, rung=0), 0.0)
        assert list(database.events())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk") as folder:
        yield folder


def test_a_full_disk_ends_the_search_with_a_sentence_and_it_goes_on_when_there_is_room(
    small_disk: Path, tmp_path: Path
) -> None:
    (tmp_path / "checkpoints").mkdir()
    (small_disk / "checkpoints").symlink_to(tmp_path / "checkpoints")  # only the database is on the full disk
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 8_270_000)
    with pytest.raises(OutputError) as raised:
        work_on(small_disk, sampler="random", checkpoint_bytes=64)
    assert "search.sqlite cannot be read or written: the disk is full." in raised.value.message
    assert "--resume" in (raised.value.hint or "")
    acknowledged = stored_events(small_disk)
    assert len(acknowledged) > 5
    filler.unlink()
    work_on(small_disk, sampler="random", checkpoint_bytes=64)
    events = stored_events(small_disk)
    assert events[: len(acknowledged)] == acknowledged
    (tmp_path / "whole").mkdir()
    work_on(tmp_path / "whole", sampler="random")
    assert decisions(events) == decisions(stored_events(tmp_path / "whole"))
    assert num_repeated_rungs(events) in ([0], [1])


def test_a_file_that_may_not_grow_ends_the_search_with_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    script = (
        "import resource, sys; from pathlib import Path; from stored_searches import work_on\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))\n"
        "from probe.errors import OutputError\n"
        "try: work_on(Path(sys.argv[1]), sampler='random', checkpoint_bytes=64)\n"
        "except OutputError as error: print(error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=Path(__file__).parents[2] / "support",
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cannot be read or written" in done.stdout
    acknowledged = stored_events(tmp_path)
    assert acknowledged
    work_on(tmp_path, sampler="random", checkpoint_bytes=64)
    assert stored_events(tmp_path)[: len(acknowledged)] == acknowledged
