"""The benchmark for a GPU, run here on the simulated device; and that it needs none of the packages a search needs."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "batch_gpu.py"
UNNEEDED = ("optuna", "pydantic", "ray", "lightning", "accelerate")


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("batch_gpu", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["batch_gpu"] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_it_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    def run(minutes: str) -> str:
        asked = ["--device", "simulated:1", "--models", "cnn", "--img", "16", "--limits", "6MiB", "--no-peers"]
        kept = ["--cases", "cases.jsonl", "--markdown", "table.md", "--minutes", minutes]
        done = subprocess.run(
            [sys.executable, str(SCRIPT), *asked, *kept], cwd=tmp_path, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = run("0.0001")
    assert "Not measured for want of time: probe cnn bf16 6MiB." in first
    cases = tmp_path / "cases.jsonl"
    with cases.open("a") as file:
        file.write('{"case": {"model": "cn\n')  # cut off in the middle of a line
    second = run("5")
    assert "Not measured" not in second
    assert len(cases.read_text().splitlines()) == 3
    assert "The same power of two in 2 of 2 (100 %)" in (tmp_path / "table.md").read_text()


def test_batch_and_lr_run_without_what_a_search_needs(tmp_path: Path) -> None:
    script = f"""
import sys
sys.modules.update(dict.fromkeys({UNNEEDED}))
import torch
from torch import nn
from probe import Task, find_batch_size, find_lr
data = (torch.randn(64, 4), torch.zeros(64, dtype=torch.int64))
task = Task(model=lambda: nn.Linear(4, 2), train=data)
print(find_batch_size(task, device="simulated:1MiB", in_process=True, confirm_seconds=0).largest_fit)
print(find_lr(task, steps=40, device="cpu").num_steps)
"""
    environ = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=100, env=environ
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "64"


def test_cases_in_order_and_what_is_missing(benchmark: ModuleType) -> None:
    cases = list(benchmark.all_cases(("resnet50", "swin_t"), ("8GiB", "24GiB"), 224, ["accelerate"]))
    assert [(case.model, case.precision, case.limit) for case in cases[:3]] == [
        ("resnet50", "fp32", "8GiB"),
        ("swin_t", "fp32", "8GiB"),
        ("resnet50", "bf16", "8GiB"),
    ]
    assert [case.finder for case in cases].count("accelerate") == 1
    done = [outcome(benchmark, cases[0]), outcome(benchmark, cases[3])]
    assert benchmark.missing_cases(cases, done) == [*cases[1:3], *cases[4:]]


def outcome(
    benchmark: ModuleType, case: object, *, found: int = 64, predicted: int = 64, measured: int = 100
) -> object:
    peak = benchmark.Peak(
        batch_size=found,
        predicted_allocated=104,
        measured_allocated=measured,
        predicted_reserved=120,
        measured_reserved=120,
    )
    return benchmark.Outcome(
        case=case, device="a GPU", found=found, predicted=predicted, peaks=(peak,), num_attempts=2, seconds=1.0
    )


def test_the_table_says_how_right_the_predictions_were(benchmark: ModuleType) -> None:
    cases = list(benchmark.all_cases(("resnet50", "swin_t"), ("8GiB",), 224, ["lightning"]))
    cnn, vit = cases[0], cases[1]
    text = benchmark.report(
        [
            outcome(benchmark, cnn),
            outcome(benchmark, vit, found=64, predicted=128, measured=80),
            replace(outcome(benchmark, cases[-1]), peaks=(), predicted=None),  # type: ignore[type-var]  # found at run time
        ],
        cases[2:3],
    )
    assert "The same power of two in 1 of 2 (50 %); at most 1 steps off" in text
    assert "Allocated peaks, convolutions: 1 of 1 within 5 %, median 4.0 %" in text
    assert "Allocated peaks, attention: 0 of 1 within 10 %, median 30.0 %" in text
    assert "| lightning | resnet50 | 8 GiB | 64 | 2 | 1.00 s |" in text
    assert "Not measured for want of time: probe resnet50 bf16 8GiB." in text
