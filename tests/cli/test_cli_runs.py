"""Real, tiny runs of the commands: their stdout, stderr and files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_tools import RECIPE, Searches, environment, read_result, start_probe

import probe.batch.comparison.axes
from probe.cli.main import run

LR = ["lr", "--task", "clitask:task", "--steps", "60"]
BATCH = ["batch", "--task", "clitask:task", "--device", "simulated:64MiB", "--max", "16"]


pytestmark = pytest.mark.usefixtures("users_folder")


def test_lr_prints_the_answer_and_leaves_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*LR, "--seed", "3"]) == 0
    out, err = capsys.readouterr()
    result = read_result(tmp_path)
    assert out.startswith("Answer")
    assert re.search(r"^Report +reports/lr-clitask-task-\d{8}T\d{6}Z/report\.md$", out, flags=re.MULTILINE)
    assert result["meta"]["argv"] == ["probe", *LR, "--seed", "3"]
    assert result["meta"]["seed"] == 3
    assert (result["optimizer"], result["batch_size"]) == ("sgd", 16)
    assert re.search(r"^\[[\d.]+ m?s\] range test: step 50 of 60, lr ", err, flags=re.MULTILINE)


def test_options_reach_the_range_test(tmp_path: Path) -> None:
    args = ["--batch", "8", "--from", "1e-3", "--to", "0.1", "--optimizer", "adam", "--precision", "bf16", "--quiet"]
    assert run([*LR, *args]) == 0
    result = read_result(tmp_path)
    found = {key: result[key] for key in ("batch_size", "lowest_lr", "highest_lr", "optimizer", "precision")}
    assert found == {"batch_size": 8, "lowest_lr": 0.001, "highest_lr": 0.1, "optimizer": "adam", "precision": "bf16"}


def test_json_file_equals_the_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*LR, "--json", "out.json", "--out", "my/run"]) == 0
    assert json.loads(Path("out.json").read_text()) == json.loads(Path("my/run/result.json").read_text())
    assert "my/run/report.md" in capsys.readouterr().out


def test_quiet_says_nothing_but_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*LR, "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Answer")
    assert err == ""


def without_a_gpu() -> bool:
    import torch

    return not torch.cuda.is_available()


def test_batch_without_a_gpu_predicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not without_a_gpu():
        pytest.skip("there is a GPU")
    assert run(["batch", "--model", "mlp", "--data", "digits", "--quiet", "--memory", "2GiB"]) == 0
    out, _ = capsys.readouterr()
    result = read_result(tmp_path)
    assert (result["stopped_by"], result["attempts"], result["largest_fit"]) == ("predicted", [], None)
    (prediction,) = result["predictions"]
    assert prediction["memory_bytes"] == 2 * 2**30
    assert str(prediction["largest_fit"]) in out.replace(",", "")
    assert "predicted" in out


def test_batch_compares_precisions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--img", "8", "--precision", "fp32,bf16", "--device", "simulated:4MiB", "--max", "4"]
    assert run(["batch", "--model", "cnn", *args, "--confirm-steps", "0", "--quiet"]) == 0
    result = read_result(tmp_path)
    assert (result["kind"], result["stopped_by"]) == ("batch_comparison", "finished")
    assert [variant["precision"] for variant in result["variants"]] == ["fp32", "bf16"]
    assert all(variant["result"]["largest_fit"] for variant in result["variants"])
    assert "bf16" in capsys.readouterr().out


def test_batch_compares_every_combination(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Any] = []

    def interrupted(source: Any, axes: Any, **options: Any) -> None:
        compared.append(axes)
        raise KeyboardInterrupt

    monkeypatch.setattr(probe.batch.comparison.axes, "compare_batch_sizes", interrupted)
    options = ["--img", "16,8", "--precision", "fp32,bf16", "--activation-checkpointing"]
    assert run(["batch", "--model", "cnn", *options, "--quiet"]) == 130
    [axes] = compared
    assert (axes.image_sizes, axes.precisions) == ((16, 8), ("fp32", "bf16"))
    assert axes.activation_checkpointing == (False, True)


def test_batch_compares_ways_to_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--img", "8", "--variants", "--device", "simulated:4MiB", "--max", "4"]
    assert run(["batch", "--model", "cnn", *args]) == 0
    result = read_result(tmp_path)
    assert (result["kind"], result["stopped_by"], result["loader"]) == ("batch_comparison", "finished", [])
    settings = [(v["precision"], v["channels_last"], v["compile"]) for v in result["variants"]]
    assert settings == [("fp32", False, False), ("bf16", False, False), ("bf16", True, False)]
    assert all(attempt["purpose"] != "confirm" for v in result["variants"] for attempt in v["result"]["attempts"])
    out, err = capsys.readouterr()
    assert "bf16 + channels_last" in out
    assert "bf16 + channels_last" in err


def test_variants_without_a_gpu_are_predicted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not without_a_gpu():
        pytest.skip("there is a GPU")
    assert run(["batch", "--model", "mlp", "--data", "digits", "--quiet", "--variants"]) == 0
    result = read_result(tmp_path)
    assert (result["stopped_by"], [v["precision"] for v in result["variants"]]) == ("predicted", ["fp32", "bf16"])
    assert "predicted" in capsys.readouterr().out


def test_batch_that_fits_nothing_lists_what_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", "--model", "resnet18", "--img", "64", "--device", "simulated:150MiB", "--quiet"]) == 5
    out, err = capsys.readouterr()
    result = read_result(tmp_path)
    assert result["stopped_by"] == "nothing_fits"
    assert result["alternatives"][0]["change"].startswith("optimizer sgd")
    assert "optimizer sgd" in out
    assert "above" in err


def test_bare_lr_takes_the_probe_toml_of_this_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lr_table = "[lr]\nfrom = 0.001\nto = 1.0\nsteps = 40\nbatch = 8\n"
    (tmp_path / "probe.toml").write_text(RECIPE + lr_table)
    assert run(["lr"]) == 0
    assert re.search(r"probe\.toml.*clitask:task", capsys.readouterr().err)
    result = read_result(tmp_path)
    assert result["meta"]["recipe_hash"]
    assert (result["lowest_lr"], result["highest_lr"], result["batch_size"]) == (0.001, 1.0, 8)


def test_the_command_line_beats_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "probe.toml").write_text(RECIPE + "[lr]\nfrom = 0.001\nsteps = 40\nbatch = 8\n")
    assert run(["lr", "--from", "0.01", "--batch", "4", "--quiet"]) == 0
    result = read_result(tmp_path)
    assert (result["lowest_lr"], result["highest_lr"], result["batch_size"]) == (0.01, 10.0, 4)


def test_bare_lr_without_a_recipe_takes_digits_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lr", "--steps", "30"]) == 0
    assert "built-in cnn on digits" in capsys.readouterr().err
    assert read_result(tmp_path)["task"] == "cnn on digits"


def test_batch_sweeps_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(BATCH) == 0
    out, err = capsys.readouterr()
    result = read_result(tmp_path)
    assert result["largest_fit"] == 16
    assert re.match("Answer .* 16", out)
    assert "--max" in out
    assert err.count("fits") == len(result["attempts"])


def test_nothing_fits_is_an_error_with_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", "--task", "clitask:huge", "--device", "simulated:8MiB", "--start", "1"]) == 5
    assert read_result(tmp_path)["stopped_by"] == "nothing_fits"
    out, err = capsys.readouterr()
    assert "no batch size fits" in out
    assert re.search(r"Error: Nothing fits: .* batch size 1", err)


def test_a_bug_of_the_user_in_a_sweep_keeps_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["batch", "--task", "clitask:bug_in_forward", "--device", "simulated:64MiB"]) == 3
    assert read_result(tmp_path)["stopped_by"] == "error"
    assert "KeyError: 'a bug in forward'" in capsys.readouterr().err


def test_search_prints_the_answer_and_leaves_a_report(searches: Searches) -> None:
    result = json.loads((searches.folder / "random0" / "result.json").read_text())
    assert (result["limits"]["trials"], result["meta"]["seed"], result["num_workers"]) == (3, 7, 1)
    assert searches.out.startswith("Answer")
    assert re.search(r"^Report +random0/report\.md$", searches.out, flags=re.MULTILINE)
    assert "Searching blobs.toml: max accuracy, by random and asha." in searches.err
    assert re.search(r"\] trial 2 after 1 epoch: ", searches.err)


def test_a_report_drawn_again_is_the_same(
    searches: Searches, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(searches.folder / "random0", tmp_path / "random0")
    drawn = tmp_path / "random0" / "report.md"
    text = drawn.read_text()
    drawn.unlink()
    assert run(["report", "random0"]) == 0
    assert drawn.read_text() == text
    assert capsys.readouterr().out == searches.out
    assert run(["report", "random0", "--quiet"]) == 0
    assert capsys.readouterr().out.split() == ["Report", "random0/report.md"]


def test_a_configuration_to_try_is_the_first_trial(searches: Searches) -> None:
    trials = json.loads((searches.folder / "random0" / "result.json").read_text())["trials"]
    assert (trials[0]["params"]["lr"], trials[0]["params"]["width"]) == (0.125, 8)
    assert trials[1]["params"]["lr"] == 0.2  # that of the recipe's `start`


def test_report_needs_no_torch(tmp_path: Path) -> None:
    assert run([*LR, "--quiet", "--out", "r"]) == 0
    script = (
        "import sys; from probe.cli.main import run; code = run(['report', 'r']); print(code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"


def test_devices_says_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["devices"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if not line.startswith(" ")][:5] == [
        "GPU",
        "Driver",
        "NVML",
        "CUDA",
        "PyTorch",
    ]


def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    assert run([*LR, "--quiet", "--out", "r"]) == 0
    child = start_probe("report", "r", folder=tmp_path)
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert child.wait(timeout=60) == 0
    assert child.stderr.read() == ""
    child.stderr.close()
