"""Whole searches whose trials leave something behind in their processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_recipes import blobs_recipe

from probe.recipe.schema import Recipe
from probe.search.find import find_hyperparameters
from probe.search.records.search import SearchResult


def sticky_recipe(**space: Any) -> Recipe:
    return blobs_recipe(
        {"which": {"choices": [0, 1]}, "lr": 0.1, **space},
        task={"target": "sticky_task:sticky", "objective": {"metric": "accuracy", "mode": "max"}},
        search={"sampler": "grid", "scheduler": "none", "fidelity": {"max": 1}},
        start=[{"which": 1}],
    )


def search(recipe: Recipe, folder: Path) -> SearchResult:
    return find_hyperparameters(recipe, device="cpu", num_workers=1, folder=folder, deterministic=True)


def test_one_broken_trial_fails_alone_and_paths_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = search(sticky_recipe(breaks="1"), Path("here"))
    assert Path.cwd() == tmp_path  # though the module that this process imports changes it
    assert [(trial.params["which"], trial.status) for trial in result.trials] == [(1, "failed"), (0, "complete")]
    assert "device-side assert" in (result.trials[0].message or "")  # its own error, not what it caused
    assert result.final is not None
    assert (tmp_path / "here" / "search.sqlite").is_file()
    assert (tmp_path / "here" / str(result.final.weights_file)).is_file()


def test_what_every_trial_leaves_costs_the_next_a_retry_and_the_final_training_nothing(tmp_path: Path) -> None:
    result = search(sticky_recipe(leaves=True), tmp_path / "run")
    assert [trial.status for trial in result.trials] == ["complete"] * 2
    assert result.final is not None
    assert result.test is not None
    [warning] = [warning for warning in result.warnings if "fresh process" in warning]
    assert "trial 1." in warning
