"""A path that cannot be used ends with one sentence, wherever it is given: no traceback, no bug, no waiting."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bad_paths import KINDS, PLACES, Place, pipe, without_privileges
from cli_tools import RECIPE, Searches

from probe.cli.main import run

CODES = {2, 3, 6}


@contextmanager
def no_waiting() -> Iterator[None]:
    """Opening a pipe that nothing writes to would wait until the end of time."""

    def give_up(*_: object) -> None:
        raise AssertionError("the command waits")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(300)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder_with_runs(users_folder: Path, searches: Searches) -> Path:
    """The current folder: a user's folder with two finished searches and a recipe to train."""
    for run_name in ("random0", "grid0"):
        shutil.copytree(searches.folder / run_name, users_folder / run_name)
    one = RECIPE.replace("{ low = 1e-3, high = 1.0, log = true }", "0.1").replace("{ choices = [4, 8] }", "4")
    (users_folder / "one.toml").write_text(one)
    return users_folder


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_every_bad_path_is_one_sentence(
    place: Place, folder_with_runs: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    told = {}
    sys.stderr.reconfigure(errors="replace")  # type: ignore[union-attr]  # as `probe.cli.main.main` does
    for kind in [pipe] if place.in_worker else [kind for kind in KINDS if place.bad(kind)]:
        arguments = place.arguments(kind(tmp_path_factory.mktemp("bad")), folder_with_runs)
        with no_waiting(), without_privileges():
            code = run(arguments)
        err = capsys.readouterr().err
        if code not in CODES or err.count("Error: ") != 1 or "bug in probe" in err or "Traceback" in err:
            told[kind.__name__] = f"exit code {code}: {err}"
    assert told == {}
    assert not list(folder_with_runs.glob("reports/*"))


def test_a_pipe_with_a_writer_is_read_as_a_recipe(users_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.write(writer, RECIPE.encode())
    os.close(writer)
    try:
        assert run(["space", f"/dev/fd/{reader}"]) == 0
    finally:
        os.close(reader)
    assert "blobs" in capsys.readouterr().out


def test_a_huge_recipe_is_refused(users_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open("huge.toml", "wb") as file:
        file.truncate(2**40)  # a terabyte of nothing
    with no_waiting():
        assert run(["space", "huge.toml"]) == 2
    assert "more than 262,144 bytes" in capsys.readouterr().err


def test_a_link_is_not_replaced_by_json(users_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("link.json").symlink_to("nowhere.json")
    assert run(["lr", "--task", "clitask:task", "--device", "cpu", "--json", "link.json"]) == 6
    assert "already exists" in capsys.readouterr().err
    assert Path("link.json").is_symlink()


GONE = [
    ["space"],
    ["space", "blobs.toml"],
    ["search", "blobs.toml"],
    ["train", "blobs.toml"],
    ["batch"],
    ["batch", "--task", "clitask:task"],
    ["lr"],
    ["lr", "--task", "clitask:task"],
    ["lr", "--model", "mlp", "--data", "csv:x.csv"],
    ["report", "run"],
    ["compare", "run", "other"],
    ["export", "run", "--optuna", "sqlite:///x.db"],
    ["data", "mnist"],
]


@pytest.fixture
def deleted_folder(users_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, which does not exist any more; the path is that of the user's folder."""
    gone = users_folder / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    yield users_folder
    os.chdir(users_folder)


@pytest.mark.parametrize("arguments", GONE, ids=" ".join)
def test_a_deleted_working_directory_is_one_sentence(
    arguments: list[str], deleted_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) in CODES
    err = capsys.readouterr().err
    assert err.count("Error: ") == 1
    assert "bug in probe" not in err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["devices"], ["data"]], ids=" ".join)
def test_commands_without_paths_work_in_a_deleted_working_directory(
    arguments: list[str], deleted_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 0


def test_absolute_paths_work_in_a_deleted_working_directory(
    deleted_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["space", str(deleted_folder / "blobs.toml")]) == 0
