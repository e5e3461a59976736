"""Real, tiny runs of every command: what lands on stdout, on stderr and on disk."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import RECIPE, environment, fill, read_result, start_probe

from probe.cli.main import run

LR = ["lr", "--task", "clitask:task", "--steps", "60"]
BATCH = ["batch", "--task", "clitask:task", "--device", "simulated:64MiB", "--max", "16"]


@pytest.fixture(autouse=True)
def _in_a_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "clitask", raising=False)


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


def test_json_on_stdout_is_pure_and_equals_the_file(tmp_path: Path) -> None:
    done = start_probe(*LR, "--json", "-", folder=tmp_path)
    out, err = done.communicate(timeout=120)
    assert done.returncode == 0, err
    assert json.loads(out) == read_result(tmp_path)
    assert "Answer" in err


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


def test_batch_compares_sizes_and_precisions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = [
        "--img",
        "16,8",
        "--precision",
        "fp32,bf16",
        "--activation-checkpointing",
        "--device",
        "simulated:4MiB",
        "--max",
        "8",
    ]
    assert run(["batch", "--model", "cnn", *args, "--confirm-steps", "0", "--quiet"]) == 0
    result = read_result(tmp_path)
    assert (result["kind"], result["stopped_by"], result["task"]) == (
        "batch_comparison",
        "finished",
        "cnn on synthetic",
    )
    compared = [(v["image_size"], v["precision"], v["activation_checkpointing"]) for v in result["variants"]]
    assert compared == [
        (size, precision, on) for size in (16, 8) for precision in ("fp32", "bf16") for on in (False, True)
    ]
    assert all(variant["result"]["largest_fit"] for variant in result["variants"])
    assert "bf16" in capsys.readouterr().out


def test_batch_that_fits_nothing_lists_what_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", "--model", "resnet18", "--img", "64", "--device", "simulated:150MiB", "--quiet"]) == 5
    out, err = capsys.readouterr()
    result = read_result(tmp_path)
    assert result["stopped_by"] == "nothing_fits"
    assert result["alternatives"][0]["change"].startswith("optimizer sgd")
    assert "optimizer sgd" in out
    assert "What would fit, as predicted, is listed above" in err


def test_bare_lr_takes_the_probe_toml_of_this_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lr_table = "[lr]\nfrom = 0.001\nto = 1.0\nsteps = 40\nbatch = 8\n"
    (tmp_path / "probe.toml").write_text(RECIPE + lr_table)
    assert run(["lr"]) == 0
    assert "Taking the probe.toml of this folder: clitask:task." in capsys.readouterr().err
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
    assert "taking the built-in cnn on digits" in capsys.readouterr().err
    assert read_result(tmp_path)["task"] == "cnn on digits"


def test_batch_sweeps_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(BATCH) == 0
    out, err = capsys.readouterr()
    result = read_result(tmp_path)
    assert result["largest_fit"] == 16
    assert out.startswith("Answer    the largest batch that fits is 16")
    assert "--max ended the sweep there" in out
    assert err.count("fits") == len(result["attempts"])


def test_nothing_fits_is_an_error_with_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", "--task", "clitask:huge", "--device", "simulated:8MiB", "--start", "1"]) == 5
    assert read_result(tmp_path)["stopped_by"] == "nothing_fits"
    out, err = capsys.readouterr()
    assert "nothing fits" in out
    assert re.search(r"Error: Nothing fits: .*not even at batch size 1", err)


def test_a_bug_of_the_user_in_a_sweep_keeps_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["batch", "--task", "clitask:bug_in_forward", "--device", "simulated:64MiB"]) == 3
    assert read_result(tmp_path)["stopped_by"] == "error"
    assert "KeyError: 'a bug in forward'" in capsys.readouterr().err


def test_search_then_report_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "blobs.toml", "--trials", "3", "--seed", "7", "--workers", "1"]) == 0
    out, err = capsys.readouterr()
    result = read_result(tmp_path)
    assert (result["limits"]["trials"], result["meta"]["seed"], result["num_workers"]) == (3, 7, 1)
    assert out.startswith("Answer    best validation accuracy")
    assert "Searching blobs.toml: max accuracy, by random and asha." in err
    assert re.search(r"\] trial 2 after 1 epoch: ", err)
    [folder] = (tmp_path / "reports").iterdir()
    drawn = (folder / "report.md").read_text()
    (folder / "report.md").unlink()
    assert run(["report", str(folder.relative_to(tmp_path))]) == 0
    assert (folder / "report.md").read_text() == drawn
    assert capsys.readouterr().out == out


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
    assert child.wait(timeout=60) == 1
    assert child.stderr.read() == ""
    child.stderr.close()
