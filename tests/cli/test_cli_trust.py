"""The code of a search that someone else has started runs only with --trust; reports never run any."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from cli_tools import TASK, Searches, fill

from probe.cli.main import run

NOTES = 'open("imported", "a").close()\n' + TASK
RESUME = ["search", "blobs.toml", "--workers", "1", "--device", "cpu", "--quiet", "--resume", "--out", "grid0"]
RESUME += ["--set", "search.sampler=grid"]
TRAIN = ["train", "grid0/best.toml", "--device", "cpu", "--quiet"]


@pytest.fixture
def received(searches: Searches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: finished searches that someone else has started. Importing clitask.py creates the file `imported`."""
    fill(tmp_path)
    for name in ("random0", "grid0"):
        shutil.copytree(searches.folder / name, tmp_path / name)
    (tmp_path / "clitask.py").write_text(NOTES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "clitask", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def was_imported(folder: Path) -> bool:
    return (folder / "imported").exists() or "clitask" in sys.modules


@pytest.mark.parametrize(
    "words",
    [
        [*RESUME, "--set", "budget.trials=3"],
        TRAIN,
        ["lr", "grid0/best.toml", "--device", "cpu"],
        ["batch", "grid0/best.toml", "--device", "simulated:1GiB"],
        ["search", "grid0/best.toml", "--device", "cpu"],
    ],
    ids=["resume", "train", "lr", "batch", "search"],
)
def test_the_code_of_someone_elses_search_does_not_run(
    received: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path for path in received.rglob("*") if path.is_file())
    assert run(words) == 2
    err = capsys.readouterr().err
    for fact in ("clitask:task", str(received / "clitask.py"), "--trust", "grid0"):
        assert fact in err
    assert not was_imported(received)
    assert sorted(path for path in received.rglob("*") if path.is_file()) == before


@pytest.mark.usefixtures("warm_workers")
def test_with_trust_the_search_is_resumed_and_known_from_then_on(received: Path) -> None:
    assert run([*RESUME, "--trust", "--allow-code-changes", "--set", "budget.trials=3"]) == 0
    assert was_imported(received)
    assert run([*TRAIN, "--out", "trained"]) == 0
    shutil.rmtree(received / "state")
    assert run(TRAIN) == 2
    assert run([*TRAIN, "--trust"]) == 0
    assert run([*TRAIN, "--epochs", "1", "--out", "again"]) == 0


def test_own_searches_and_written_recipes_need_no_trust(
    received: Path, searches: Searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = (received / "grid0" / "best.toml").read_text()
    (received / "mine.toml").write_text(re.sub(r"^#.*\n", "", best, flags=re.MULTILINE))
    assert run(["train", "mine.toml", "--device", "cpu", "--quiet"]) == 0
    monkeypatch.undo()  # the list of the user that has started the searches
    monkeypatch.chdir(received)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert run([*TRAIN, "--out", "own"]) == 0
    sys.modules.pop("clitask")


def test_named_models_need_no_trust(received: Path) -> None:
    best = (received / "grid0" / "best.toml").read_text()
    task = 'model = "mlp"\ndata = "digits"\nnum_train = 64'
    (received / "named.toml").write_text(best.replace('target = "clitask:task"', task))
    assert run(["train", "named.toml", "--device", "cpu", "--quiet", "--epochs", "1"]) == 0
    assert not was_imported(received)


def test_no_report_imports_the_task(received: Path) -> None:
    (received / "random0" / "result.json").unlink()  # as after a kill: the result is read from search.sqlite
    names = set(sys.modules)
    assert run(["report", "random0"]) == 0
    assert run(["report", "grid0"]) == 0
    assert run(["compare", "random0", "grid0", "--out", "compared"]) == 0
    assert run(["export", "random0", "--optuna", f"sqlite:///{received / 'x.db'}"]) == 0
    assert run(["space", "blobs.toml"]) == 0
    assert not was_imported(received)
    own = [
        name for name in set(sys.modules) - names if str(received) in str(getattr(sys.modules[name], "__file__", ""))
    ]
    assert own == []
    assert str(received) not in sys.path
    assert os.listdir(received / "compared")
