"""The exact text of screens: help, errors of the command line, progress. Renew with `pytest --snapshot-update tests/cli`.

All other tests of the command line assert facts, so that a change of wording changes only the snapshots.
"""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from cli_tools import Searches
from rich.console import Console
from syrupy.assertion import SnapshotAssertion
from test_cli_live import (
    DIVERGED,
    FITS,
    LR_PLAN,
    LR_RUN,
    PREDICTION_INFO,
    PROGRESS,
    TOO_LARGE,
    TRIAL,
)

from probe.batch.decide import NextAttempt
from probe.cli.live.lines import PlainLines
from probe.cli.live.train import TrainView
from probe.cli.live.views import BatchView, LrView, SearchView, View
from probe.cli.main import cli, run
from probe.lr.records import LrProgress
from probe.single.records import TrainStarted
from probe.training.records import EpochReport

STEP = LrProgress(step=50, num_steps=300, lr=1e-3, loss=2.0)
STARTED = TrainStarted(epochs=3, num_train=96, num_val=24, num_test=None, metric="accuracy")
EPOCH = EpochReport(epoch=1, train_loss=0.25, val_loss=0.5, metrics={"accuracy": 0.75}, seconds=1.0)
PROGRESSES: dict[str, tuple[type[View], list[Any]]] = {
    "batch": (BatchView, [PREDICTION_INFO, NextAttempt(512, "size"), TOO_LARGE, FITS]),
    "lr": (LrView, ["optimizer sgd", LR_PLAN, STEP, LR_RUN, DIVERGED]),
    "search": (SearchView, [PROGRESS, TRIAL]),
    "train": (TrainView, [STARTED, EPOCH]),
}
ERRORS = [
    "lrr",
    "lr --bacth 8",
    "lr --batch many",
    "lr --batch 16,16",
    "lr --optimizer sgd,",
    "lr --precision fp8",
    "lr --from nan",
    "lr --from 1 --to 0.1",
    "lr --steps 29",
    "lr --batch 16,32 --optimizer sgd,adam",
    "lr --task clitask:task --per optimizer",
    "lr blobs.toml --task clitask:task",
    "lr --data digits",
    "batch --task clitask:task --img 32",
    "lr clitask:task",
    "search",
    "search blobs.toml --json clitask.py",
    "search blobs.toml --json no/where.json",
    "search blobs.toml --resume",
    "search blobs.toml --resume --out .",
    "report",
    "compare blobs.toml",
    "compare . blobs.toml",
    "export .",
]


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("name", ["", *cli.commands], ids=lambda name: name or "probe")
def test_help(name: str, capsys: pytest.CaptureFixture[str], snapshot: SnapshotAssertion) -> None:
    assert run([*name.split(), "--help"]) == 0
    assert capsys.readouterr().out == snapshot


@pytest.mark.usefixtures("users_folder")
@pytest.mark.parametrize("line", ERRORS)
def test_error(line: str, capsys: pytest.CaptureFixture[str], snapshot: SnapshotAssertion) -> None:
    assert run(line.split()) != 0
    assert capsys.readouterr().err == snapshot


@pytest.mark.parametrize("kind", PROGRESSES)
def test_plain_lines(kind: str, capsys: pytest.CaptureFixture[str], snapshot: SnapshotAssertion) -> None:
    show = PlainLines(constants={"dropout"})
    for record in PROGRESSES[kind][1]:
        show(record)
    assert without_times(capsys.readouterr().err) == snapshot


@pytest.mark.parametrize("kind", PROGRESSES)
def test_live_view(kind: str, snapshot: SnapshotAssertion) -> None:
    view = PROGRESSES[kind][0]()
    for record in PROGRESSES[kind][1]:
        view.update(record)
    console = Console(file=io.StringIO(), width=80, color_system=None, force_terminal=True)
    with console.capture() as capture:
        console.print(view.draw())
    lines = [line.rstrip() for line in without_times(capture.get()).splitlines()]
    assert "\n".join(lines) == snapshot


def test_progress_of_a_search(searches: Searches, snapshot: SnapshotAssertion) -> None:
    """All numbers but those of trials are masked, because they differ between machines."""
    lines = [line.partition(" (")[0] for line in without_times(searches.err).splitlines()]
    assert [re.sub(r"(?<!trial )\b\d[\d.e-]*", "#", line) for line in lines] == snapshot


def without_times(text: str) -> str:
    """Mask the time at the start of a line, the seconds of a spinner, and its picture."""
    text = re.sub(r"^\[[\d.]+ \w+\]", "[time]", text, flags=re.MULTILINE)
    text = re.sub(r"(, |about |batch \d+)\d*(?:\.\d+)? s\b", r"\1# s", text)
    return re.sub("[\u2800-\u28ff]", "*", text)
