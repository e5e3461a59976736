"""Bad input ends with one error message, its exit code and no traceback of probe, and writes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from probe.cli.main import run

BAD = [
    # the command line itself
    (["lrr"], 2, r"No such command 'lrr'\. Did you mean 'lr'"),
    (["lr", "--bacth", "8"], 2, r"No such option '--bacth'.*--batch"),
    (["lr", "--batch", "0"], 2, r"'--batch': '0' is not a whole number of at least 1"),
    (["lr", "--batch", "many"], 2, r"'--batch': 'many' is not a whole number"),
    (["lr", "--from", "nan"], 2, r"'--from': 'nan' is not a number above zero"),
    (["lr", "--from", "1", "--to", "0.1"], 2, r"from 1 to 0\.1"),
    (["lr", "--steps", "1"], 2, r"at least \d+ steps"),
    (["lr", "--steps", "29"], 2, r"at least 30 steps, not 29"),
    (["lr", "--repeats", "0"], 2, r"'--repeats': '0' is not a whole number of at least 1"),
    (["lr", "--training-steps", "0"], 2, r"'--training-steps': '0' is not a whole number of at least 1"),
    (["lr", "--training-steps", "1e3"], 2, r"'--training-steps': '1e3' is not a whole number"),
    (["lr", "--confirm=maybe"], 2, r"'--confirm': 'maybe' is not one of 'short', 'full'"),
    (["lr", "--confirm", "maybe"], 2, r"There is no recipe maybe|maybe"),
    (["lr", "--per", "batch"], 2, r"'--per': 'batch' is not .*'optimizer'"),
    (["lr", "--batch", "16,16"], 2, r"'--batch': '16' is given twice"),
    (["lr", "--batch", "16,"], 2, r"'--batch': '' is not a whole number"),
    (["lr", "--optimizer", "sgd,sgd"], 2, r"'--optimizer': 'sgd' is given twice"),
    (
        ["lr", "--batch", "16,32", "--optimizer", "sgd,adam"],
        2,
        r"--batch and --optimizer",
    ),
    (["lr", "blobs.toml", "--batch", "8,16", "--per", "optimizer"], 2, r"--batch and --per"),
    (["lr", "--task", "clitask:task", "--per", "optimizer"], 2, r"\[space\].*--optimizer sgd,adam"),
    (["lr", "blobs.toml", "--per", "optimizer"], 2, r"\[space\]"),
    (["lr", "--task", "clitask:task", "--lr-schedule", "nonsense"], 2, r"'nonsense'.*cosine"),
    (["lr", "--precision", "fp8"], 2, r"'fp8' is not one of 'fp32', 'tf32', 'bf16', 'fp16'"),
    (["lr", "blobs.toml", "--task", "clitask:task"], 2, r"RECIPE and --task"),
    (["batch", "--task", "clitask:task", "--model", "mlp"], 2, r"--task and --model"),
    (["batch", "--task", "clitask:task", "--img", "32"], 2, r"--img requires --model, not --task"),
    (["lr", "--data", "digits"], 2, r"--data requires --model"),
    (["batch", "--model", "mlp", "--variants", "--precision", "bf16"], 2, r"--variants cannot .* --precision\."),
    (["batch", "--model", "cnn", "--img", "8,16", "--variants"], 2, r"--variants cannot .* --img"),
    (["batch", "--attempt-timeout", "0"], 2, r"A duration must be longer than zero, not '0'"),
    (["batch", "--attempt-timeout", "soon"], 2, r"'soon' is not a duration"),
    (["batch", "--start", "-3"], 2, r"'-3' is not a whole number of at least 1"),
    (["report"], 2, r"Missing argument 'RUN'"),
    (["report", "nowhere"], 2, r"nowhere"),
    (["search"], 2, r"no probe\.toml"),
    # names
    (["lr", "--model", "densent"], 3, r"Unknown model 'densent'.*Did you mean densenet"),
    (["lr", "--model", "mlp", "--data", "digts"], 3, r"Unknown data set 'digts'.*Did you mean digits"),
    (["lr", "--task", "clitask:task", "--optimizer", "adm"], 2, r"Unknown optimizer 'adm'.*Did you mean adam"),
    (["lr", "--task", "clitask:task", "--optimizer", "sgd,adm"], 2, r"Unknown optimizer 'adm'.*Did you mean adam"),
    (["lr", "densenet"], 2, r"There is no recipe densenet\..*--model densenet"),
    (["lr", "clitask:task"], 2, r"There is no recipe clitask:task\..*--task clitask:task"),
    # recipes
    (["search", "blob.toml"], 2, r"blob\.toml.*Did you mean blobs\.toml"),
    (["search", "blobs.toml", "--set", "search.sampler=grdi"], 2, r"search\.sampler"),
    (["search", "blobs.toml", "--set", "buget.trials=3"], 2, r"buget.*budget"),
    (["search", "blobs.toml", "--set", "nonsense"], 2, r"'nonsense'"),
    (["search", "blobs.toml", "--trials", "none"], 2, r"budget\.trials"),
    (["search", "blobs.toml", "--time", "soon"], 2, r"budget\.time"),
    (["search", "blobs.toml", "--set", "space.widht=3"], 2, r"space\.widht.*Did you mean width"),
    (["search", "blobs.toml", "--set", "space.optimizer=adm"], 2, r"Unknown optimizer 'adm'.*adam"),
    (["search", "blobs.toml", "--workers", "0"], 2, r"'0' is not a whole number of at least 1"),
    # tasks
    (["lr", "--task", "clitask"], 3, r"'clitask'.*module:callable"),
    (["lr", "--task", "clitsk:task"], 3, r"'clitsk'"),
    (["lr", "--task", "clitask:tsk"], 3, r"'tsk'.*Did you mean task"),
    (["lr", "--task", "clitask:nothing"], 3, r"probe\.Task.*int"),
    (["lr", "--task", "clitask:no_data"], 3, r"Task\.train"),
    (["search", "blobs.toml", "--set", "task.target=clitask:bare"], 3, r"probe\.Task"),
    (["lr", "--task", "clitask:task", "--batch", "4096"], 2, r"96 samples.* 4096"),
    # devices
    (["lr", "--device", "cuda:99"], 4, r"CUDA device|cuda:99"),
    (["lr", "--device", "mps"], 4, r"MPS"),
    (["batch", "--device", "simulated:9999TiB"], 4, r"simulated limit.*GiB"),
    (["batch", "--device", "simulated:lots"], 2, r"'lots'"),
    (["lr", "--device", "quantum"], 2, r"'quantum'"),
    (["search", "blobs.toml", "--device", "cuda:99"], 4, r"CUDA device|cuda:99"),
    (["search", "blobs.toml", "--ray", "nonsense"], 2, r"--ray nonsense.*HOST:PORT"),
    (["search", "blobs.toml", "--ray", "local:0"], 2, r"--ray local:0"),
    # runs
    (["search", "blobs.toml", "--resume"], 6, r"no run named blobs"),
    (["search", "blobs.toml", "--resume", "--out", "."], 6, r"no search\.sqlite"),
    (["export", "."], 2, r"--optuna"),
    # places to write
    (["lr", "--task", "clitask:task", "--out", "."], 6, r"\. "),
    (["lr", "--task", "clitask:task", "--out", "clitask.py/run"], 6, r"clitask\.py/run"),
    (["lr", "--task", "clitask:task", "--json", "clitask.py"], 6, r"--json: clitask\.py already exists"),
    (["search", "blobs.toml", "--json", "no/where.json"], 6, r"--json: there is no folder no"),
    (["report", "."], 6, r"no result\.json"),
    (["report", "clitask.py"], 6, r"JSON"),
]


pytestmark = pytest.mark.usefixtures("users_folder")


@pytest.mark.parametrize(
    ("args", "code", "message"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_bad_input(
    args: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(args) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("Error: ") == 1
    assert re.search(message, " ".join(err.split()))
    assert "Traceback" not in err
    assert not list(tmp_path.glob("reports/*"))


def test_without_a_gpu_a_cuda_device_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert run(["batch", "--task", "clitask:task", "--device", "cuda"]) == 4
    assert "CUDA device" in capsys.readouterr().err


def test_without_a_gpu_and_a_prediction_the_error_names_both(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert run(["batch", "--task", "clitask:looks_at_values"]) == 4
    err = capsys.readouterr().err
    assert "There is no GPU to measure" in err
    assert "clitask.py" in err
    assert "--device simulated:SIZE" in err


@pytest.mark.parametrize("target", ["clitask:bug", "clitask:bug_in_forward"])
def test_a_bug_of_the_user_shows_their_traceback_only(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lr", "--task", target]) == 3
    err = capsys.readouterr().err
    assert err.count("Traceback") == 1
    assert 'clitask.py", line' in err
    assert "probe/cli" not in err


def test_a_step_that_does_not_fit_names_the_batch_probe(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lr", "--task", "clitask:huge", "--device", "simulated:20MiB"]) == 5
    err = capsys.readouterr().err
    assert "clitask:huge" in err
    assert "`probe batch`" in err


def test_a_limit_of_a_kernel_names_the_batch_probe(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lr", "--task", "clitask:unsupported", "--device", "cpu"]) == 3
    err = capsys.readouterr().err
    assert "CUDNN_STATUS_NOT_SUPPORTED" in err
    assert 'clitask.py", line' in err
    assert "`probe batch`" in err


def test_debug_shows_the_traceback_of_probe(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lr", "--model", "densent", "--debug"]) == 3
    assert "in resolve_model" in capsys.readouterr().err


def test_a_bug_of_probe_asks_for_a_report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import probe.report.store

    def broken(path: Path) -> Path:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(probe.report.store, "load_result", broken)
    assert run(["report", "x"]) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError: oh" in err
    assert "probe report x --debug" in err
    assert "Traceback" not in err
    assert run(["report", "x", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
