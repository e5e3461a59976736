"""Whole searches with gradient steps, by real training in worker processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_recipes import blobs_recipe
from searches import search_outcome

from probe.records_json import from_plain, to_plain
from probe.report.search.page import search_page
from probe.report.search.refinement import refinement_info, refinement_text
from probe.search.find import find_hyperparameters
from probe.search.records.search import SearchResult
from probe.search.stored_result import stored_result

pytestmark = pytest.mark.usefixtures("warm_workers")

REFINED: dict[str, Any] = {
    "task": {"target": "searched_task:blobs", "objective": {"metric": "loss", "mode": "min"}},
    "space": {
        "optimizer": "sgd",
        "lr": {"low": 0.001, "high": 1.0, "log": True},
        "l2": {"low": 1e-5, "high": 0.1, "log": True},
        "dropout": 0.0,
    },
    "search": {
        "sampler": "random",
        "scheduler": "none",
        "seed": 1,
        "fidelity": {"max": 2},
        "refine": {"method": "hypergradient", "after": 2, "hyperparameters": ["lr", "l2"]},
    },
    "budget": {"trials": 5},
}


@pytest.fixture(scope="module")
def refined(tmp_path_factory: pytest.TempPathFactory, warm_workers: None) -> tuple[SearchResult, Path]:
    folder = tmp_path_factory.mktemp("run")
    return find_hyperparameters(blobs_recipe(**REFINED), device="cpu", folder=folder, num_workers=1), folder


def test_steps_lower_the_loss_and_are_stored(refined: tuple[SearchResult, Path]) -> None:
    result, folder = refined
    facts = refinement_info(result)
    assert facts is not None
    assert facts.kept
    assert (facts.best.value or 9.0) < (facts.start.value or 0.0)
    assert result.best is not None
    assert result.best.number == facts.best.number
    assert "lowered the validation loss from" in refinement_text(facts)
    assert "### Gradient steps" in search_page(result, [])
    assert from_plain(SearchResult, to_plain(result)) == result
    stored = stored_result(folder)
    assert stored.trials == result.trials
    assert stored.spent.epochs == result.spent.epochs == sum(trial.epochs for trial in result.trials)


def test_the_budget_may_grow_and_the_steps_go_on(refined: tuple[SearchResult, Path]) -> None:
    before, folder = refined
    recipe = blobs_recipe(**{**REFINED, "budget": {"trials": 7}})
    result = find_hyperparameters(recipe, device="cpu", folder=folder, num_workers=1, resume=True)
    assert result.trials[:5] == before.trials
    assert all(trial.refinement is not None for trial in result.trials[2:])
    assert result.stopped_by in ("trials", "refined")


def test_what_cannot_be_differentiated_keeps_the_search() -> None:
    space = {**REFINED["space"], "fault": "none", "label_smoothing": {"low": 0.0, "high": 0.2}}
    search = {
        **REFINED["search"],
        "refine": {"method": "hypergradient", "after": 2, "hyperparameters": ["label_smoothing"]},
    }
    task = {**REFINED["task"], "target": "smoothed_task:unsmoothed"}
    result, error = search_outcome(
        blobs_recipe(**{**REFINED, "space": space, "search": search, "task": task}), device="cpu", num_workers=1
    )
    assert error is None
    assert (result.stopped_by, len(result.trials)) == ("refined", 2)
    assert result.best is not None
    [warning] = [warning for warning in result.warnings if "refinement" in warning]
    assert "label_smoothing" in warning
