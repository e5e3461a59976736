"""Real, tiny runs of `probe lr`: confirmation, repeats, comparisons, and the [lr] table of a recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_tools import RECIPE, TASK, read_result

import probe.lr.context
from probe.cli.main import run

STEPS = 60
BLOBS = ["lr", "--task", "clitask:task", "--steps", str(STEPS)]
EASY_TASK = TASK.replace("+ targets[:, None]", "+ 3 * targets[:, None]")
"""Two blobs far enough from each other for a range test of a few steps to tell learning rates apart."""
NAN_TASK = """
def nan_in_val():
    import dataclasses
    nan = torch.full((8, 4), float("nan"))
    return dataclasses.replace(task(), val=(nan, torch.zeros(8, dtype=torch.int64)))
"""
DIGITS = ["lr", "--model", "mlp", "--data", "digits", "--steps", "30"]
OPTIMIZERS = 'optimizer = { choices = ["sgd", "adam"] }\n[search]'


@pytest.fixture(autouse=True)
def _easy_task(users_folder: Path) -> None:
    (users_folder / "clitask.py").write_text(EASY_TASK + NAN_TASK)
    (users_folder / "two.toml").write_text(RECIPE.replace("[search]", OPTIMIZERS))


def runs_of(result: Any) -> list[Any]:
    return list(result["confirmation"]["runs"])


def test_confirm_runs_five_learning_rates_for_no_more_than_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*BLOBS, "--training-steps", "60", "--confirm"]) == 0
    out, err = capsys.readouterr()
    result = read_result(tmp_path)
    assert (result["training_steps"], result["training_steps_assumed"], result["confirmation"]["planned_steps"]) == (
        60,
        False,
        60,
    )
    made = runs_of(result)
    assert len(made) == 5
    assert f"{STEPS + 300} training steps" in err
    assert err.count("] run at ") == 5
    assert result["num_steps"] == sum(len(c["points"]) + c["num_extra_steps"] for c in result["curves"]) + sum(
        one["num_steps"] for one in made
    )
    assert result["confirmation"]["measured_on"] == "held_out"
    assert "loss after 60" in out


def test_confirm_full_runs_a_quarter_of_the_training(tmp_path: Path) -> None:
    assert run([*BLOBS, "--confirm", "full", "--training-steps", "200", "--quiet"]) == 0
    result = read_result(tmp_path)
    assert result["confirmation"]["planned_steps"] == 50
    assert result["depth"] == "full"


@pytest.mark.parametrize(
    ("args", "planned"),
    [
        (["--confirm", "blobs.toml"], 18),
        (["blobs.toml", "--confirm"], 18),
        (["--confirm", "full", "blobs.toml"], 5),
        (["--confirm=full", "blobs.toml"], 5),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_confirm_does_not_take_a_recipe_for_its_value(args: list[str], planned: int, tmp_path: Path) -> None:
    assert run(["lr", *args, "--steps", str(STEPS), "--quiet"]) == 0
    result = read_result(tmp_path)
    assert result["task"] == "clitask:task"
    assert result["meta"]["recipe_hash"]
    assert (result["training_steps"], result["training_steps_assumed"]) == (18, False)  # 3 epochs of 6 batches
    assert result["confirmation"]["planned_steps"] == planned


def test_a_narrow_range_is_confirmed_by_as_many_runs(tmp_path: Path) -> None:
    ends = ["--from", "0.01", "--to", "0.1", "--optimizer", "adam"]
    assert run([*BLOBS, *ends, "--confirm", "--training-steps", "20", "--quiet"]) == 0
    result = read_result(tmp_path)
    lrs = [one["lr"] for one in runs_of(result)]
    assert len(set(lrs)) == 5
    assert all(0.01 <= lr <= 0.1 for lr in lrs)
    assert result["stopped_by"] == "finished"


def test_ctrl_c_before_the_first_run_is_finished_keeps_the_range_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(probe.lr.context, "run_at", interrupted)
    assert run([*BLOBS, "--confirm", "--training-steps", "20", "--quiet"]) == 130
    result = read_result(tmp_path)
    assert (result["stopped_by"], result["depth"], result["confirmation"]) == ("interrupted", "range_test", None)
    assert result["suggestion"] is not None
    assert "interrupted" in capsys.readouterr().out


def test_validation_data_with_nan_is_an_error_of_the_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lr", "--task", "clitask:nan_in_val", "--steps", str(STEPS), "--confirm", "--quiet"]) == 3
    assert "validation data" in capsys.readouterr().err


def test_range_tests_are_averaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*BLOBS, "--repeats", "2"]) == 0
    out, err = capsys.readouterr()
    result = read_result(tmp_path)
    assert len(result["curves"]) == 2
    assert result["curves"][0]["seed"] == 0 != result["curves"][1]["seed"]
    assert result["curves"][0]["points"] != result["curves"][1]["points"]
    assert f"2 range tests of {STEPS}" in err
    assert "2 range tests" in out


def test_batch_sizes_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*BLOBS, "--batch", "16,32"]) == 0
    out, err = capsys.readouterr()
    result = read_result(tmp_path)
    assert (result["kind"], result["axis"], result["stopped_by"]) == ("lr_comparison", "batch_size", "finished")
    assert [one["batch_size"] for one in result["results"]] == [16, 32]
    assert {one["optimizer"] for one in result["results"]} == {"sgd"}
    assert [line.partition("] ")[2] for line in err.splitlines() if "] batch size" in line] == [
        "batch size 16",
        "batch size 32",
    ]
    [folder] = (tmp_path / "reports").iterdir()
    assert "batch size" in (folder / "report.md").read_text()
    assert out.startswith("Answer")
    assert run(["report", str(folder)]) == 0
    assert "batch sizes" in capsys.readouterr().out


def test_optimizers_are_compared_by_their_order(tmp_path: Path) -> None:
    assert run([*BLOBS, "--optimizer", "sgd,adam", "--batch", "8", "--lr-schedule", "cosine", "--quiet"]) == 0
    result = read_result(tmp_path)
    assert result["axis"] == "optimizer"
    found = [(one["optimizer"], one["batch_size"], one["lr_schedule"]) for one in result["results"]]
    assert found == [("sgd", 8, "cosine"), ("adam", 8, "cosine")]


@pytest.mark.parametrize("how", ["--per", "[lr]"])
def test_per_optimizer_takes_those_of_the_recipe(how: str, tmp_path: Path) -> None:
    if how == "[lr]":
        with (tmp_path / "two.toml").open("a") as file:
            file.write('[lr]\nper = "optimizer"\n')
    args = ["--per", "optimizer"] if how == "--per" else []
    assert run(["lr", "two.toml", *args, "--steps", "30", "--quiet"]) == 0
    result = read_result(tmp_path)
    assert (result["kind"], result["axis"]) == ("lr_comparison", "optimizer")
    assert [one["optimizer"] for one in result["results"]] == ["sgd", "adam"]
    assert {(one["batch_size"], one["training_steps"]) for one in result["results"]} == {(16, 18)}


def test_an_optimizer_on_the_command_line_beats_the_per_of_the_recipe(tmp_path: Path) -> None:
    with (tmp_path / "two.toml").open("a") as file:
        file.write('[lr]\nper = "optimizer"\nsteps = 30\n')
    assert run(["lr", "two.toml", "--optimizer", "adam", "--quiet"]) == 0
    result = read_result(tmp_path)
    assert (result["kind"], result["optimizer"]) == ("lr", "adam")


def test_a_recipe_says_how_its_learning_rate_is_probed(tmp_path: Path) -> None:
    with (tmp_path / "blobs.toml").open("a") as file:
        file.write("[lr]\nsteps = 60\ntraining_steps = 24\nrepeats = 2\nconfirm = true\n")
    assert run(["lr", "blobs.toml", "--repeats", "1", "--quiet"]) == 0
    result = read_result(tmp_path)
    assert (result["ramp_steps"], result["training_steps"], len(result["curves"])) == (60, 24, 1)
    assert result["confirmation"]["planned_steps"] == 24


def test_without_a_recipe_the_length_of_the_training_is_assumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*DIGITS, "--quiet"]) == 0
    result = read_result(tmp_path)
    assert (result["training_steps"], result["training_steps_assumed"], result["ramp_steps"]) == (500, True, 30)
    assert "--training-steps" in capsys.readouterr().out


def test_json_holds_what_other_programs_read(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--model", "cnn", "--data", "digits", "--steps", "60", "--from", "1e-4", "--to", "1"]
    assert run(["lr", *args, "--training-steps", "100", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert (result["schema"], result["kind"], result["training_steps"]) == (1, "lr", 100)
    found = result["suggestion"]
    assert 1e-4 <= found["low"] <= found["lr"] <= found["high"] <= 1
    assert set(result["other_finders"]) == {"steepest", "minimum_tenth", "valley"}
    assert isinstance(result["warnings"], list)
    [curve] = result["curves"]
    assert 30 <= len(curve["points"]) <= result["num_steps"] <= 60
    assert set(curve["points"][0]) == {"step", "lr", "loss", "smoothed_loss"}
    assert "Answer" in err
