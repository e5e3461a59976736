"""`probe train`: from a search's best.toml to weights, and what it refuses."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
from cli_tools import fill, read_result

from probe.cli.live.train import MAX_EPOCHS, TrainView
from probe.cli.main import run
from probe.single.records import TrainStarted
from probe.training.records import EpochReport

TRAIN = ["train", "blobs.toml", "--set", "space.lr=0.1", "--set", "space.width=4", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _in_a_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "clitask", raising=False)


def test_a_searchs_winner_can_be_trained(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "blobs.toml", "--workers", "1", "--device", "cpu", "--out", "run", "--quiet"]) == 0
    searched = json.loads(Path("run/result.json").read_text())
    capsys.readouterr()
    assert run(["train", "run/best.toml", "--out", "trained", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(Path("trained/result.json").read_text())
    assert result["params"] == searched["best"]["params"]
    assert result["epochs"] == searched["final"]["epochs"]
    assert result["meta"]["argv"] == ["probe", "train", "run/best.toml", "--out", "trained", "--device", "cpu"]
    assert re.search(r"^Weights +weights\.safetensors, after epoch \d", out, flags=re.MULTILINE)
    assert re.search(rf"epoch 1 of {result['epochs']}: training loss .+, validation loss .+, accuracy .+ %", err)
    files = {path.name for path in Path("trained").iterdir()}
    assert files == {"result.json", "report.md", "history.csv", "learning_curves.png", "weights.safetensors"}


def test_options_reach_the_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*TRAIN, "--epochs", "2", "--all-data", "--seed", "5", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    result = read_result(tmp_path)
    assert json.loads(out) == result
    assert (result["epochs"], result["all_data"], result["num_val"], result["meta"]["seed"]) == (2, True, None, 5)
    assert "Answer    training loss" in err
    [folder] = (tmp_path / "reports").iterdir()
    assert folder.name.startswith("train-blobs-")


def test_what_is_left_to_search_is_refused_before_there_is_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "blobs.toml"]) == 2
    assert "leaves lr and width to search" in capsys.readouterr().err
    assert not (tmp_path / "reports").exists()


def test_divergence_leaves_a_report_and_exit_code_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*TRAIN, "--set", "space.lr=1e30", "--quiet"]) == 5
    out, err = capsys.readouterr()
    assert out.startswith("Answer    no epoch was trained to its end")
    assert "Lower the learning rate" in err
    assert read_result(tmp_path)["stopped_by"] == "diverged"


def test_the_users_own_error_is_shown_as_theirs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("blobs.toml").read_text().replace("clitask:task", "clitask:bug_in_forward")
    Path("bug.toml").write_text(text.replace('metric = "accuracy"', 'metric = "loss"').replace("width", "# width"))
    assert run(["train", "bug.toml", "--set", "space.lr=0.1", "--device", "cpu"]) == 3
    err = capsys.readouterr().err
    assert 'raise KeyError("a bug in forward")' in err
    assert "probe has a bug" not in err
    assert not list(tmp_path.glob("reports/*"))


def test_the_live_view_shows_the_last_epochs_and_what_is_left() -> None:
    from rich.console import Console

    view = TrainView()
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(view.draw())
    view.update(TrainStarted(epochs=30, num_train=96, num_val=24, num_test=None, metric="accuracy"))
    for epoch in range(1, 21):
        metrics = {"accuracy": 0.5 + epoch / 100}
        view.update(EpochReport(epoch=epoch, train_loss=1 / epoch, val_loss=1.5 / epoch, metrics=metrics, seconds=2.0))
    console.print(view.draw())
    text = console.export_text()
    assert "training 30 epochs on 96 samples, validated on 24" in text
    assert re.search(r"epoch 21 of 30, about [\d.]+ s left", text)
    assert "70.00 %" in text
    assert len(re.findall(r"^ +\d+ .* s$", text, flags=re.MULTILINE)) == MAX_EPOCHS
    view.running = False
    console.print(view.draw())
    assert "left" not in console.export_text(clear=True)
