"""What a terminal gets of texts from outside: the command line, the user's code and its output, a recipe, a stored result."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
from cli_tools import RECIPE, fill
from foreign_texts import FOREIGN_TEXTS, unseen, with_texts
from made_records import train_result
from rich.console import Console

from probe.batch.prediction_records import PredictionInfo
from probe.cli.live.lines import PlainLines
from probe.cli.live.train import TrainView
from probe.cli.live.views import BatchView, LrView, SearchView, View
from probe.cli.main import run
from probe.lr.records import LrProgress
from probe.report.store import save_result
from probe.search.records.search import BestTrial, BudgetLimits, RunningTrial, SearchProgress, Spent, TrialResult
from probe.single.records import TrainStarted
from probe.training.records import EpochReport

TYPED = {
    name: text for name, text in FOREIGN_TEXTS.items() if "\x00" not in text and name not in ("long word", "spaces")
}
"""Texts that a command line can have."""
COMMANDS = [
    ["{}"],
    ["lr", "--{}"],
    ["lr", "--model", "{}"],
    ["lr", "--model", "mlp", "--data", "{}"],
    ["lr", "--task", "{}:task"],
    ["lr", "--task", "clitask:{}"],
    ["lr", "--task", "clitask:task", "--optimizer", "{}"],
    ["lr", "--device", "{}"],
    ["lr", "--batch", "{}"],
    ["lr", "--json", "{}/x.json"],
    ["search", "{}.toml"],
    ["search", "blobs.toml", "--set", "{}=1"],
    ["search", "blobs.toml", "--set", "search.sampler={}"],
    ["search", "blobs.toml", "--time", "{}"],
    ["report", "{}"],
    ["data", "{}"],
]
ALL = "".join(TYPED.values())
IN_FILES = re.sub("[\ud800-\udfff]", "", ALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def hidden(screen: str) -> set[str]:
    return unseen(screen.replace("\n", ""))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_error_shows_the_command_line_as_text(
    command: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [text.replace("\ud800", "") for text in TYPED.values()]
    for text in ["".join(texts[start : start + 4]) for start in range(0, len(texts), 4)]:
        code = run([word.replace("{}", text) for word in command])
        out, err = capsys.readouterr()
        assert 2 <= code <= 6, err
        assert (hidden(out), hidden(err)) == (set(), set())


def test_an_error_of_the_users_code_keeps_its_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = f"Odd = type({IN_FILES!r}, (Exception,), {{}})\ndef task(): raise Odd('first\\n\\tsecond' + {ALL!r})\n"
    (folder / "odd_errors.py").write_text(source)
    assert run(["lr", "--task", "odd_errors:task", "--device", "cpu", "--quiet"]) == 3
    err = capsys.readouterr().err
    assert hidden(err) == set()
    assert "\n        second" in err
    assert "\\u202e" in err
    sys.modules.pop("odd_errors", None)


DIES = """
import dataclasses, os
from torch import nn
from clitask import task as sound
def task(width: int = 8):
    class Fails(nn.Linear):
        def forward(self, inputs):
            print(TEXT, flush=True)
            if width == 4:
                os._exit(7)
            raise RuntimeError(TEXT)
    return dataclasses.replace(sound(width), model=lambda: Fails(4, 2))
"""


def test_a_search_of_failing_trials_is_told_in_text(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "dying.py").write_text(DIES.replace("TEXT", repr(IN_FILES)))
    (folder / "dying.toml").write_text(RECIPE.replace("clitask:task", "dying:task"))
    code = run(["search", "dying.toml", "--device", "cpu", "--workers", "1", "--out", "run"])
    out, err = capfd.readouterr()
    assert 1 <= code <= 5
    assert (hidden(out), hidden(err)) == (set(), set())
    assert "\\u001b" in out + err
    for page in folder.glob("run/*.md"):
        assert hidden(page.read_text(encoding="utf-8")) == set()


def test_a_stored_result_is_shown_as_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = with_texts(train_result(warnings=("warned",)), lambda own: ALL + own)
    (folder / "run").mkdir()
    save_result(result, folder / "run" / "result.json")
    assert (folder / "run" / "result.json").read_bytes().isascii()
    assert run(["report", "run"]) == 0
    out, err = capsys.readouterr()
    assert (hidden(out), hidden(err)) == (set(), set())
    assert json.loads((folder / "run" / "result.json").read_text())["warnings"] == list(result.warnings)


TRIAL = TrialResult(
    number=1,
    params={ALL: ALL},
    seed=1,
    status="failed",
    value=None,
    epochs=3,
    reports=(),
    rungs=(1, 3),
    seconds=1.0,
    message=ALL,
)
PROGRESS = SearchProgress(
    stage="load",
    message=ALL,
    spent=Spent(trials=1, epochs=3, probe_epochs=0, seconds=1.0),
    limits=BudgetLimits(trials=3),
    running=(RunningTrial(number=2, params={ALL: ALL}, epoch=1, epochs_to=3, place=ALL),),
    best=BestTrial(number=1, params={ALL: ALL}, value=0.5),
)
STARTED = TrainStarted(epochs=3, num_train=3, num_val=3, num_test=None, metric=ALL)
EPOCH = EpochReport(epoch=1, train_loss=1.0, train_metrics={}, val_loss=1.0, metrics={ALL: 0.5}, seconds=1.0)
SHOWN: list[tuple[type[View], list[object]]] = [
    (BatchView, [ALL, PredictionInfo(traced_as=None, failure=ALL, seconds=1.0)]),
    (LrView, [ALL, LrProgress(step=50, num_steps=100, lr=0.1, loss=1.0)]),
    (SearchView, [TRIAL, PROGRESS]),
    (TrainView, [STARTED, EPOCH]),
]


@pytest.mark.parametrize(("view", "records"), SHOWN, ids=lambda one: getattr(one, "__name__", ""))
def test_progress_is_text_in_its_lines(
    view: type[View], records: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    drawn, lines = view(), PlainLines()
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None, markup=False, emoji=False)
    for record in records:
        drawn.update(record)
        lines(record)
        with console.capture() as capture:
            console.print(drawn.draw())
        assert hidden(capture.get()) == set()
        assert max(map(len, capture.get().splitlines())) <= 80
    err = capsys.readouterr().err
    assert hidden(err) == set()
    assert len(err.splitlines()) <= len(records)
