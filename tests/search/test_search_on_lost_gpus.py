"""`probe search` and `probe train` on machines with fake GPUs: errors that leave a process without its GPU, and GPUs other than
the first."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_tools import read_result
from fake_gpus import FakeMachine
from gpu_tasks import seen_by, watched_on

Make = Callable[..., FakeMachine]
RECIPE = """
schema = 1
name = "gpu"
[task]
target = "gpu_tasks:{task}"
objective = {{ metric = "loss", mode = "min" }}
[space]
which = {which}
batch_size = 32
lr = 0.01
[search]
sampler = "grid"
scheduler = "none"
fidelity = {{ max = 1 }}
[budget]
trials = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(Path(__file__).parents[1] / "support" / "gpu_tasks.py", tmp_path)
    return tmp_path


def recipe_in(folder: Path, task: str, which: str = "{ choices = [0, 1, 2] }") -> str:
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(task=task, which=which))
    return path.name


def test_a_trial_with_a_sticky_error_fails_alone(fake_machine: Make, folder: Path) -> None:
    done = fake_machine().run("search", recipe_in(folder, "asserting"), "--device", "cuda", cwd=folder)
    assert done.returncode == 0, done.stderr
    trials = read_result(folder)["trials"]
    failed = [trial for trial in trials if trial["params"]["which"] == 1]
    assert [trial["status"] for trial in failed] == ["failed"]
    assert {trial["status"] for trial in trials if trial not in failed} == {"complete"}
    for text in ("gpu_tasks.py", "device-side assert triggered", "--device cpu"):
        assert text in failed[0]["message"]
    assert "--device cpu" in " ".join(done.stdout.split())


def test_trials_see_a_second_gpu_alone(fake_machine: Make, folder: Path) -> None:
    machine = watched_on(fake_machine(count=2), folder)
    done = machine.run("search", recipe_in(folder, "watched"), "--device", "cuda:1", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert read_result(folder)["meta"]["device"] == "Fake GPU (cuda:1)"
    assert seen_by(folder) == {(1, (0,))}


def test_training_uses_a_second_gpu_only(fake_machine: Make, folder: Path) -> None:
    machine = watched_on(fake_machine(count=2), folder)
    done = machine.run("train", recipe_in(folder, "watched", "0"), "--device", "cuda:1", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert read_result(folder)["meta"]["device"] == "Fake GPU (cuda:1)"
    assert seen_by(folder) == {(2, (1,))}


def test_training_names_a_sticky_error(fake_machine: Make, folder: Path) -> None:
    done = fake_machine().run("train", recipe_in(folder, "asserting", "1"), "--device", "cuda", cwd=folder)
    assert done.returncode == 3
    for text in ("Training gpu raised", "device-side assert triggered", "gpu_tasks.py", "--device cpu"):
        assert text in done.stderr
