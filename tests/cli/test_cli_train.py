"""`probe train`: from a best.toml to weights, and its errors."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from cli_tools import Searches, read_result

from probe.cli.live.lines import PlainLines
from probe.cli.live.train import MAX_EPOCHS, TrainView
from probe.cli.main import run
from probe.single.records import TrainStarted
from probe.training.records import EpochReport

TRAIN = ["train", "blobs.toml", "--set", "space.lr=0.1", "--set", "space.width=4", "--device", "cpu"]


pytestmark = pytest.mark.usefixtures("users_folder")


def test_the_best_configuration_of_a_search_is_trained(searches: Searches, capsys: pytest.CaptureFixture[str]) -> None:
    searched = json.loads((searches.folder / "random0" / "result.json").read_text())
    best = str(searches.folder / "random0" / "best.toml")
    assert run(["train", best, "--out", "trained", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(Path("trained/result.json").read_text())
    assert result["params"] == searched["best"]["params"]
    assert result["epochs"] == searched["final"]["epochs"]
    assert result["meta"]["argv"] == ["probe", "train", best, "--out", "trained", "--device", "cpu"]
    assert "weights.safetensors" in out
    assert f"epoch 1 of {result['epochs']}: training loss" in err
    files = {path.name for path in Path("trained").iterdir()}
    assert files == {"result.json", "report.md", "history.csv", "learning_curves.png", "weights.safetensors"}


def test_ctrl_c_keeps_the_weights_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(lines: PlainLines, record: Any) -> None:
        if isinstance(record, EpochReport) and record.epoch == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(PlainLines, "__call__", interrupt)
    assert run([*TRAIN, "--epochs", "1000000"]) == 130
    assert read_result(tmp_path)["stopped_by"] == "interrupted"
    [folder] = (tmp_path / "reports").iterdir()
    assert (folder / "weights.safetensors").exists()


def test_options_reach_the_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*TRAIN, "--epochs", "2", "--all-data", "--seed", "5", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    result = read_result(tmp_path)
    assert json.loads(out) == result
    assert (result["epochs"], result["all_data"], result["num_val"], result["meta"]["seed"]) == (2, True, None, 5)
    assert "Answer" in err
    [folder] = (tmp_path / "reports").iterdir()
    assert folder.name.startswith("train-blobs-")


def test_a_recipe_with_a_space_is_an_error_before_a_folder_is_created(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "blobs.toml"]) == 2
    assert "lr and width" in capsys.readouterr().err
    assert not (tmp_path / "reports").exists()


def test_divergence_leaves_a_report_and_exit_code_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*TRAIN, "--set", "space.lr=1e30", "--quiet"]) == 5
    out, err = capsys.readouterr()
    assert out.startswith("Answer")
    assert "earning rate" in err
    assert read_result(tmp_path)["stopped_by"] == "diverged"


def test_an_error_of_the_task_shows_its_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("blobs.toml").read_text().replace("clitask:task", "clitask:bug_in_forward")
    Path("bug.toml").write_text(text.replace('metric = "accuracy"', 'metric = "loss"').replace("width", "# width"))
    assert run(["train", "bug.toml", "--set", "space.lr=0.1", "--device", "cpu"]) == 3
    err = capsys.readouterr().err
    assert 'raise KeyError("a bug in forward")' in err
    assert "a bug in probe" not in err
    assert not list(tmp_path.glob("reports/*"))


def test_the_live_view_shows_the_latest_epochs_and_the_remaining_time() -> None:
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
    assert {"30", "96", "24"} <= set(re.findall(r"\d+", text))
    assert re.search(r"epoch 21 of 30, about [\d.]+ s left", text)
    assert "70.00 %" in text
    assert len(re.findall(r"^ +\d+ .* s$", text, flags=re.MULTILINE)) == MAX_EPOCHS
    view.running = False
    console.print(view.draw())
    assert "left" not in console.export_text(clear=True)
