"""`probe space` and `--try`, as a user runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import environment, fill, read_result

from probe.cli.main import run


@pytest.fixture(autouse=True)
def _in_a_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "clitask", raising=False)


def lines(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert run(["space", *args]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return " ".join(out.split())


def test_the_space_its_size_a_grid_and_the_scheduler(capsys: pytest.CaptureFixture[str]) -> None:
    said = lines(capsys, "blobs.toml", "--try", "lr=0.1,width=8")
    assert "lr 0.001 to 1, log 5 width 4, 8 2 Fixed batch_size 16" in said
    assert "Size unlimited: lr can be any number in its range" in said
    assert "Grid 10 configurations, 30 epochs to train each to the end; the budget is 2 trials" in said
    assert "Sampler random" in said
    assert "Scheduler asha, since stopping bad trials early saves epochs trials are ranked after 1 epoch; " in said
    assert "the best 1 in 3 is promoted, at most to 3" in said
    assert said.endswith("Budget 2 trials First lr 0.1, width 8")


def test_every_scheduler_says_how_it_works(capsys: pytest.CaptureFixture[str]) -> None:
    longer = ("blobs.toml", "--set", "search.fidelity.max=9")
    assert "in cohorts of 9 trials" in lines(capsys, *longer, "--set", "search.scheduler=halving")
    hyperband = lines(capsys, *longer, "--set", "search.scheduler=hyperband")
    assert "9 trials of each round first ranked after 1" in hyperband
    assert "5 trials of each round first ranked after 3" in hyperband
    assert "3 trials of each round trained to the end" in hyperband
    asha = lines(capsys, *longer, "--set", "search.scheduler=asha")
    assert "Scheduler asha: trials are ranked after 1 and 3 epochs" in asha
    assert "none: each trial trains for 3 epochs" in lines(capsys, "blobs.toml", "--set", "search.scheduler=none")


def test_the_scheduler_that_is_chosen_where_the_recipe_names_none(capsys: pytest.CaptureFixture[str]) -> None:
    bare = ("blobs.toml", "--set", "search={fidelity={max=52}}", "--set", "budget={epochs=1040}")
    said = lines(capsys, *bare)
    assert "Scheduler asha, since the budget pays for 20 whole trainings" in said
    assert "trials are ranked after 6 and 18 epochs; the best 1 in 3 is promoted, at most to 52" in said
    assert "on 10 % and 30 % of the training data" in lines(
        capsys, "blobs.toml", "--set", 'search={fidelity={unit="data"}}'
    )
    said = lines(capsys, "blobs.toml", "--set", "search={fidelity={max=1}}")
    assert "Scheduler none, since search.fidelity leaves no rung below the longest training each trial trains" in said
    said = lines(capsys, "blobs.toml", "--set", "search={}", "--set", "space.epochs={choices=[5, 10]}")
    assert "Scheduler none, since space.epochs says how long each trial is trained each trial trains" in said
    assert "for its own number of epochs: 5 or 10" in said


def test_the_disk_that_checkpoints_take_is_forecast(capsys: pytest.CaptureFixture[str]) -> None:
    longer = ("blobs.toml", "--set", "search.fidelity.max=9", "--set", "budget={trials=24}")
    said = lines(capsys, *longer, "--set", "space.optimizer='adam'")
    assert "12 bytes per trainable parameter" in said
    assert "10 checkpoints at a time" in said
    assert "114 MiB" in said  # 10 * 12 bytes of a million parameters
    mixed = lines(capsys, *longer, "--set", "space.optimizer={choices=['sgd', 'adam']}", "--set", "space.momentum=0.9")
    assert "8 to 12 bytes per trainable parameter" in mixed
    timed = lines(capsys, *longer, "--set", "budget={time='1m'}")
    assert "the number of trials within the time is not known" in timed
    assert "Disk" not in lines(capsys, *longer, "--set", "search.scheduler=none")


def test_what_auto_takes_and_a_finite_space(capsys: pytest.CaptureFixture[str]) -> None:
    finite = ("blobs.toml", "--set", "space.lr={choices=[0.1, 0.2]}", "--set", "search.sampler=auto")
    said = lines(capsys, *finite, "--set", "budget={epochs=20}")
    assert "Size 4 configurations Grid 4 configurations, 12 epochs to train each to the end: within the budget" in said
    assert "Sampler grid, since all 4 configurations of the space can be tried within the budget" in said
    said = lines(capsys, *finite, "--set", "budget={epochs=6}")
    assert "to train each to the end: 2 times the budget" in said
    assert "Sampler gp, Bayesian optimization" in said


def test_gradient_steps_and_what_each_costs(capsys: pytest.CaptureFixture[str]) -> None:
    refined = (
        "--set=task.objective={ metric = 'loss', mode = 'min' }",
        "--set=search={ scheduler = 'none', fidelity = { max = 3 } }",
        "--set=search.refine={ method = 'hypergradient', after = 4, hyperparameters = ['lr'] }",
        "--set=space.optimizer='sgd'",
        "--set=budget.trials=8",
    )
    said = lines(capsys, "blobs.toml", *refined)
    assert "after 4 trials, gradient steps on lr" in said
    assert "up to 12 more for its gradient, through the whole training" in said
    said = lines(capsys, "blobs.toml", *refined, "--set=search.refine.unroll=5")
    assert "through the last 5 training steps" in said
    assert "Then" not in lines(capsys, "blobs.toml")


def test_what_is_probed_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    said = lines(capsys, "blobs.toml", "--set", 'space.lr={probe="range_test"}', "--set", "budget={epochs=60}")
    assert "lr from a range test 5" in said
    assert "a range test of up to 300 training steps together at most 6 of the epochs" in said
    said = lines(capsys, "blobs.toml", "--set", 'space.batch_size={probe="max_batch"}', "--set", "budget={epochs=1}")
    assert "3 training steps for each size tried" in said
    assert "together at most 0 of the epochs" in said  # the only epoch is a trial's


def test_a_grid_of_a_billion_is_refused_with_its_size(capsys: pytest.CaptureFixture[str]) -> None:
    changes = [f"space.x{number}={{low=0.0, high=1.0, steps=10}}" for number in range(8)]
    args = ["space", "blobs.toml", "--set", "search.sampler=grid", "--set", "space.lr.steps=10"]
    assert run([*args, "--set", "space.width=8", *(part for change in changes for part in ("--set", change))]) == 2
    err = capsys.readouterr().err
    assert "The grid has 1,000,000,000 configurations" in err
    assert "sampler" in err


def test_space_needs_neither_torch_nor_optuna(tmp_path: Path) -> None:
    script = (
        "import sys; from probe.cli.main import run; code = run(['space', 'blobs.toml']);"
        "print(code, [name for name in ('torch', 'optuna', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_a_try_is_the_first_trial_of_a_search(tmp_path: Path) -> None:
    args = ["search", "blobs.toml", "--device", "cpu", "--workers", "1", "--quiet", "--set", "start=[{lr=0.2}]"]
    assert run([*args, "--try", "lr=0.125,width=8"]) == 0
    trials = read_result(tmp_path)["trials"]
    assert (trials[0]["params"]["lr"], trials[0]["params"]["width"]) == (0.125, 8)
    assert trials[1]["params"]["lr"] == 0.2


def test_a_bad_try_is_an_error_before_anything_is_spent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "blobs.toml", "--try", "lr=2"]) == 2
    assert "--try lr=2: lr: must be a number from 0.001 to 1.0, not 2." in capsys.readouterr().err
    assert not (tmp_path / "reports").exists()


def test_the_sources_grid_costs_the_epochs_of_its_own_configurations(capsys: pytest.CaptureFixture[str]) -> None:
    said = lines(capsys, str(Path(__file__).parents[2] / "recipes" / "mnist-grid.toml"))
    assert "Size 243 configurations Grid 243 configurations, 2,835 epochs to train each to the end" in said
    assert "none: each trial trains for its own number of epochs: 5, 10 or 20" in said


def test_a_space_without_anything_to_search_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    said = lines(capsys, "blobs.toml", "--set", "space.lr=0.1", "--set", "space.width=8")
    assert "Size 1 configuration" in said
    assert "Warning [space] leaves nothing to search" in said
