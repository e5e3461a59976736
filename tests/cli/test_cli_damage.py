"""`probe report`, `compare`, `export` and `--resume` on the damaged run of a real search."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from cli_tools import Searches
from damaged_runs import damage_bytes, damage_result, damage_rows
from made_records import lr_result
from small_disks import mounted

from probe.cli.inputs import load_run
from probe.cli.main import run
from probe.errors import OutputError, ProbeError
from probe.report.store import result_text, save_result
from probe.search.records.search import SearchResult

RESUME = ["search", "blobs.toml", "--set", "search.sampler=grid", "--workers", "1", "--device", "cpu", "--quiet"]


@pytest.fixture
def here(searches: Searches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the searches random0 and grid0."""
    folder = tmp_path / "work"
    shutil.copytree(searches.folder, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.delitem(sys.modules, "clitask", raising=False)
    return folder


def change_rows(database: Path, *statements: str) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as rows:
        for statement in statements:
            rows.execute(statement)


def first_event(database: Path, kind: str, trial: int) -> int:
    with closing(sqlite3.connect(database)) as rows:
        [row] = rows.execute("SELECT min(id) FROM events WHERE kind = ? AND trial = ?", (kind, trial))
    return int(row[0])


def text_of(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    return " ".join(f"{out} {err}".split())


DAMAGES: dict[str, Callable[[Path, int], object]] = {
    "rows": damage_rows,
    "bytes": damage_bytes,
    "result": lambda folder, seed: damage_result(folder, seed, has_database=False),
    "both": lambda folder, seed: damage_result(folder, seed, has_database=True),
}


@pytest.mark.parametrize("kind", list(DAMAGES))
def test_every_damage_is_a_result_or_a_sentence(here: Path, kind: str) -> None:
    ends: Counter[str] = Counter()
    messages = []
    for seed in range(40):
        shutil.copytree("random0", f"damaged{seed}")
        DAMAGES[kind](Path(f"damaged{seed}"), seed)
        try:
            result = load_run(Path(f"damaged{seed}"))
        except ProbeError as error:  # any other exception would be "a bug in probe"
            messages.append(error.message)
        else:
            assert isinstance(result, SearchResult)
            ends["partial" if any("Only part" in text for text in result.warnings) else "whole"] += 1
    assert not any("\n" in message for message in messages)
    assert ends["whole"] + ends["partial"] >= {"rows": 20, "bytes": 1, "result": 1, "both": 40}[kind]


def remove_event(kind: str) -> Callable[[Path], int]:
    """Remove an event of trial 1; return the number of the next one that contradicts that."""

    def remove(database: Path) -> int:
        number = first_event(database, kind, trial=1)
        change_rows(database, f"DELETE FROM events WHERE id = {number}")
        return number + 1

    return remove


def repeat_trial(database: Path) -> int:
    number = first_event(database, "TrialStarted", trial=1)
    record = "(SELECT record FROM events WHERE kind = 'TrialSuggested' AND trial = 0)"
    change_rows(database, f"UPDATE events SET kind = 'TrialSuggested', record = {record} WHERE id = {number}")
    return number


def leave_the_space(database: Path) -> int:
    number = first_event(database, "TrialSuggested", trial=1)
    change_rows(database, f"UPDATE events SET record = json_set(record, '$.positions.lr', 1e9) WHERE id = {number}")
    return number


def spoil_record(database: Path) -> int:
    number = first_event(database, "TrialStarted", trial=1)
    change_rows(database, f"UPDATE events SET record = json_set(record, '$.rung', 'first') WHERE id = {number}")
    return number


def name_another_trial(database: Path) -> int:
    number = first_event(database, "EpochReported", trial=1)
    change_rows(database, f"UPDATE events SET record = json_set(record, '$.number', -1) WHERE id = {number}")
    return number


@pytest.mark.parametrize(
    "spoil",
    [
        remove_event("TrialSuggested"),
        remove_event("TrialStarted"),
        repeat_trial,
        leave_the_space,
        spoil_record,
        name_another_trial,
    ],
)
def test_events_up_to_the_first_that_contradicts_the_others_count(
    here: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], int]
) -> None:
    database = here / "grid0" / "search.sqlite"
    (here / "grid0" / "result.json").unlink()
    number = spoil(database)
    result = load_run(here / "grid0")
    assert isinstance(result, SearchResult)
    assert len(result.trials) >= 1
    assert result.stopped_by == "interrupted"
    assert any(f"is damaged: event {number}: " in text for text in result.warnings)

    before = rows_of(database)
    files = sorted(path.name for path in (here / "grid0").iterdir())
    assert run([*RESUME, "--out", "grid0", "--resume"]) == 6
    assert f"is damaged: event {number}: " in text_of(capsys)
    assert rows_of(database) == before
    assert sorted(path.name for path in (here / "grid0").iterdir()) == files


def rows_of(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as rows:
        return list(rows.iterdump())


def test_every_command_gives_what_came_before_the_damage(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "grid0" / "result.json").unlink()
    number = repeat_trial(here / "grid0" / "search.sqlite")
    assert run(["report", "grid0"]) == 0
    assert f"event {number}: " in text_of(capsys)
    assert f"event {number}: " in (here / "grid0" / "report.md").read_text()
    assert run(["compare", "random0", "grid0", "--out", "both"]) == 0
    assert json.loads((here / "both" / "result.json").read_text())["runs"][1]["value"] is not None
    assert run(["export", "grid0", "--optuna", "sqlite:///x.db"]) == 0


def test_a_damaged_stage_is_left_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "grid0" / "result.json").unlink()
    change_rows(here / "grid0" / "search.sqlite", "UPDATE stages SET record = '[]' WHERE name = 'final'")
    assert run(["report", "grid0"]) == 0
    assert "is damaged: stage final" in text_of(capsys)
    result = load_run(here / "grid0")
    assert isinstance(result, SearchResult)
    assert (len(result.trials), result.final) == (2, None)


@pytest.mark.parametrize("content", ["", '{"kind": "search"', "[]", "null", '{"kind": "search", "schema": 1}'])
def test_a_broken_result_beside_a_whole_database_is_drawn_anew(
    here: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    before = load_run(here / "grid0")
    broken = here / "grid0" / "result.json"
    broken.write_text(content)
    assert isinstance(before, SearchResult)
    for path in (here / "grid0", broken):
        after = load_run(path)
        assert isinstance(after, SearchResult)
        assert (after.trials, after.best, after.test) == (before.trials, before.best, before.test)
    if not content:
        assert run(["report", "grid0"]) == 0
        assert "made from search.sqlite" in text_of(capsys)
    assert broken.read_text() == content


def test_the_result_of_another_search_is_not_taken_for_this_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (here / "random0" / "result.json").read_text()
    other = json.loads(text)
    other["meta"]["started_at"] = "2020-01-01T00:00:00+00:00"
    (here / "grid0" / "result.json").write_text(json.dumps(other))
    assert run(["report", "grid0"]) == 0
    assert "of another run" in text_of(capsys)
    found = load_run(here / "grid0")
    assert isinstance(found, SearchResult)
    assert found.sampler == "grid"


def test_a_broken_result_of_a_range_test_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "result.json").write_text(result_text(lr_result())[:2000])
    assert run(["report", str(tmp_path)]) == 6
    assert "result.json is not valid JSON" in text_of(capsys)


def test_a_search_without_its_log_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "grid0" / "result.json").unlink()
    database = here / "grid0" / "search.sqlite"
    change_rows(database, "PRAGMA journal_mode = WAL")
    assert database.read_bytes()[19] == 2
    assert run(["report", "grid0"]) == 0
    assert "search.sqlite-wal is not beside it" in text_of(capsys)
    assert not (here / "grid0" / "search.sqlite-wal").exists()


def remount(disk: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_run_that_cannot_be_written_is_reported_elsewhere(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], is_killed: bool
) -> None:
    with mounted(tmp_path / "disk") as disk:
        shutil.copytree("grid0", disk / "grid0", ignore=shutil.ignore_patterns("*.png", "*.md"))
        if is_killed:  # the newest rows are in the log alone, and its index is not there
            (disk / "grid0" / "result.json").unlink()
            with closing(sqlite3.connect("grid0/search.sqlite", isolation_level=None)) as rows:
                rows.execute("PRAGMA journal_mode = WAL")
                rows.execute("UPDATE search SET value = value || '# changed' WHERE key = 'recipe'")
                for name in ("search.sqlite", "search.sqlite-wal"):
                    shutil.copyfile(here / "grid0" / name, disk / "grid0" / name)
        before = sorted(path.name for path in (disk / "grid0").iterdir())
        remount(disk, "ro")
        try:
            assert run(["report", str(disk / "grid0")]) == 6
            assert "--out" in text_of(capsys)
            assert run(["report", str(disk / "grid0"), "--out", "elsewhere"]) == 0
            assert re.search(r"Report elsewhere/report\.md", text_of(capsys))
            assert {"report.md", "trials.csv", "best.toml"} <= set(os.listdir("elsewhere"))
            assert run(["report", str(disk / "grid0"), "--out", "elsewhere"]) == 6
            assert "elsewhere already exists" in text_of(capsys)
        finally:
            remount(disk, "rw")
        assert sorted(path.name for path in (disk / "grid0").iterdir()) == before


@pytest.mark.parametrize("left", ["an empty file", "no table"])
@pytest.mark.parametrize("options", [(), ("--resume",)])
def test_what_the_first_moment_left_is_started_again(here: Path, left: str, options: tuple[str, ...]) -> None:
    folder = here / "run"
    folder.mkdir()
    (folder / "search.lock").touch()
    if left == "an empty file":
        (folder / "search.sqlite").touch()
    else:
        change_rows(folder / "search.sqlite", "PRAGMA journal_mode = WAL")
    assert run([*RESUME, "--out", "run", *options]) == 0
    assert json.loads((folder / "result.json").read_text())["num_resumes"] == 0


def test_a_search_on_a_full_disk_leaves_nothing(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with mounted(tmp_path / "disk") as disk:
        filler = disk / "filler"
        filler.write_bytes(b"x" * (8 * 2**20 - 8192))
        out = str(disk / "run")
        assert run([*RESUME, "--out", out]) == 6
        assert "disk is full" in text_of(capsys)
        assert [path.name for path in disk.iterdir()] == ["filler"]
        filler.unlink()
        assert run([*RESUME, "--out", out]) == 0


def test_the_rows_of_a_search_are_never_deleted_by_a_refused_resume(here: Path) -> None:
    database = here / "grid0" / "search.sqlite"
    change_rows(database, "DELETE FROM stages")
    assert run([*RESUME, "--out", "grid0", "--resume", "--seed", "99"]) == 2
    assert database.is_file()
    with pytest.raises(OutputError, match="already exists"):
        save_and_start(here)


def save_and_start(here: Path) -> None:
    from probe.report.store import prepare_folder

    save_result(lr_result(), here / "grid0" / "other.json")
    prepare_folder(here / "grid0")
