"""`probe space` and `--try`: the facts that they print. Their wording is tested with the answers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import environment

from probe.cli.main import run

pytestmark = pytest.mark.usefixtures("users_folder")


def shown(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, str]:
    """Label -> text of `probe space` with these arguments."""
    assert run(["space", *args]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    texts: dict[str, str] = {}
    label = ""
    for line in out.splitlines():
        label = line.split()[0] if line[0] != " " else label
        texts[label] = f"{texts.get(label, '')} {line.removeprefix(label)}".strip()
    return {label: " ".join(text.split()) for label, text in texts.items()}


def numbers(text: str) -> list[str]:
    return re.findall(r"\d[\d,.]*\d|\d", text)


def test_the_space_its_size_a_grid_and_the_scheduler(capsys: pytest.CaptureFixture[str]) -> None:
    rows = shown(capsys, "blobs.toml", "--try", "lr=0.1,width=8")
    assert "lr 0.001 to 1, log 5 width 4, 8 2" in rows["Space"]
    assert rows["Fixed"] == "batch_size 16"
    assert "unlimited" in rows["Size"]
    assert numbers(rows["Grid"]) == ["10", "30", "2"]  # configurations, epochs, trials of the budget
    assert rows["Sampler"].startswith("random")
    assert rows["Scheduler"].startswith("asha")
    assert rows["Budget"].startswith("2 trials")
    assert "lr 0.1, width 8" in rows["First"]


@pytest.mark.parametrize(
    ("scheduler", "facts"),
    [
        ("asha", ["1", "3", "1", "3", "9"]),  # rungs, the fraction promoted, epochs
        ("halving", ["1", "3", "1", "3", "9", "9"]),  # and the trials of a cohort
        (
            "hyperband",
            ["1", "3", "1", "3", "9", "9", "1", "5", "3", "3"],
        ),  # and the trials and first rung of each bracket
        ("none", ["9"]),
    ],
)
def test_every_scheduler_shows_its_rungs(scheduler: str, facts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    longer = ["blobs.toml", "--set", "search.fidelity.max=9", "--set", f"search.scheduler={scheduler}"]
    text = shown(capsys, *longer)["Scheduler"]
    assert text.startswith(scheduler)
    assert numbers(text) == facts


def test_the_default_scheduler_depends_on_budget_and_fidelity(capsys: pytest.CaptureFixture[str]) -> None:
    bare = ["blobs.toml", "--set", "search={fidelity={max=52}}", "--set", "budget={epochs=1040}"]
    text = shown(capsys, *bare)["Scheduler"]
    assert text.startswith("asha")
    assert {"20", "6", "18", "52"} <= set(numbers(text))
    text = shown(capsys, "blobs.toml", "--set", 'search={fidelity={unit="data"}}')["Scheduler"]
    assert {"10", "30"} <= set(numbers(text))
    assert shown(capsys, "blobs.toml", "--set", "search={fidelity={max=1}}")["Scheduler"].startswith("none")
    text = shown(capsys, "blobs.toml", "--set", "search={}", "--set", "space.epochs={choices=[5, 10]}")["Scheduler"]
    assert text.startswith("none")
    assert "5 or 10" in text


def test_the_disk_space_of_checkpoints_is_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    longer = ["blobs.toml", "--set", "search.fidelity.max=9", "--set", "budget={trials=24}"]
    disk = shown(capsys, *longer, "--set", "space.optimizer='adam'")["Disk"]
    assert numbers(disk)[:2] == ["10", "12"]  # checkpoints at a time, bytes per parameter
    assert "114 MiB" in disk  # 10 * 12 bytes of a million parameters
    mixed = ["--set", "space.optimizer={choices=['sgd', 'adam']}"]
    mixed += ["--set", "space.momentum={choices=[0.9], when={optimizer='sgd'}}"]
    assert "8 to 12" in shown(capsys, *longer, *mixed)["Disk"]
    assert "not known" in shown(capsys, *longer, "--set", "budget={time='1m'}")["Disk"]
    assert "Disk" not in shown(capsys, *longer, "--set", "search.scheduler=none")


def test_the_automatic_sampler_of_a_finite_space(capsys: pytest.CaptureFixture[str]) -> None:
    finite = ["blobs.toml", "--set", "space.lr={choices=[0.1, 0.2]}", "--set", "search.sampler=auto"]
    rows = shown(capsys, *finite, "--set", "budget={epochs=20}")
    assert numbers(rows["Size"]) == ["4"]
    assert numbers(rows["Grid"]) == ["4", "12"]
    assert rows["Sampler"].startswith("grid")
    rows = shown(capsys, *finite, "--set", "budget={epochs=6}")
    assert numbers(rows["Grid"]) == ["4", "12", "2"]  # twice the budget
    assert rows["Sampler"].startswith("gp")


def test_gradient_steps_and_their_cost(capsys: pytest.CaptureFixture[str]) -> None:
    refined = [
        "--set=task.objective={ metric = 'loss', mode = 'min' }",
        "--set=search={ scheduler = 'none', fidelity = { max = 3 } }",
        "--set=search.refine={ method = 'hypergradient', after = 4, hyperparameters = ['lr'] }",
        "--set=space.optimizer='sgd'",
        "--set=budget.trials=8",
    ]
    text = shown(capsys, "blobs.toml", *refined)["Then"]
    assert "lr" in text.split()
    assert numbers(text) == ["4", "3", "12"]  # trials before, epochs of a trial, epochs of its gradient
    assert "5" in numbers(shown(capsys, "blobs.toml", *refined, "--set=search.refine.unroll=5")["Then"])
    assert "Then" not in shown(capsys, "blobs.toml")


def test_probes_and_their_cost(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(
        shown(capsys, "blobs.toml", "--set", 'space.lr={probe="range_test"}', "--set", "budget={epochs=60}").values()
    )
    assert "lr from a range test" in text
    assert re.search(r"range test of up to 300 .* at most 6 of the epochs", text)
    batch = ["--set", 'space.batch_size={probe="max_batch"}', "--set", "budget={epochs=1}"]
    text = " ".join(shown(capsys, "blobs.toml", *batch).values())
    assert "at most 0 of the epochs" in text  # the only epoch is needed by a trial


def test_a_grid_of_a_billion_is_an_error_with_its_size(capsys: pytest.CaptureFixture[str]) -> None:
    changes = [f"space.x{number}={{low=0.0, high=1.0, steps=10}}" for number in range(8)]
    args = ["space", "blobs.toml", "--set", "search.sampler=grid", "--set", "space.lr.steps=10"]
    assert run([*args, "--set", "space.width=8", *(part for change in changes for part in ("--set", change))]) == 2
    err = capsys.readouterr().err
    assert "1,000,000,000" in err
    assert "10,000" in err


def test_space_needs_neither_torch_nor_optuna(tmp_path: Path) -> None:
    script = (
        "import sys; from probe.cli.main import run; code = run(['space', 'blobs.toml']);"
        "print(code, [name for name in ('torch', 'optuna', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_a_bad_configuration_to_try_is_an_error_before_a_folder_is_created(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["search", "blobs.toml", "--try", "lr=2"]) == 2
    assert re.search(r"--try lr=2: .*lr.* 0\.001 to 1\.0", capsys.readouterr().err)
    assert not (tmp_path / "reports").exists()


def test_each_configuration_of_a_grid_has_its_own_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    rows = shown(capsys, str(Path(__file__).parents[2] / "recipes" / "mnist-grid.toml"))
    assert numbers(rows["Size"]) == ["243"]
    assert numbers(rows["Grid"])[:2] == ["243", "2,835"]
    assert "5, 10 or 20" in rows["Scheduler"]


def test_a_space_with_a_single_configuration_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    rows = shown(capsys, "blobs.toml", "--set", "space.lr=0.1", "--set", "space.width=8")
    assert numbers(rows["Size"]) == ["1"]
    assert "[space]" in rows["Warning"]
