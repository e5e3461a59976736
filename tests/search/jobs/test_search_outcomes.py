"""Whole searches with real training, in which trials end in every way that a recipe can ask for."""

from __future__ import annotations

from typing import Any

import pytest
from made_recipes import blobs_recipe
from searches import search_outcome

from probe.errors import NothingFitsError
from probe.records_json import from_plain, to_plain
from probe.report.search.page import search_page
from probe.report.search.tables import trials_rows
from probe.search.find import find_hyperparameters
from probe.search.records.search import SearchResult

pytestmark = pytest.mark.usefixtures("warm_workers")

TASK = {"target": "searched_task:blobs", "objective": {"metric": "accuracy", "mode": "max"}}


def found(recipe: Any) -> SearchResult:
    result = find_hyperparameters(recipe, device="cpu", num_workers=1)
    assert from_plain(SearchResult, to_plain(result)) == result
    return result


def test_folds_constraints_patience_and_a_split_batch_in_one_search() -> None:
    recipe = blobs_recipe(
        {
            "fault": {"choices": ["none", "fits_4"]},
            "width": {"low": 4, "high": 64},
            "lr": 0.1,
            "batch_size": 16,
        },
        task={**TASK, "validation": {"kind": "kfold", "k": 4}},
        start=[
            {"fault": "fits_4", "width": 8},
            {"fault": "none", "width": 64},
            {"fault": "none", "width": 7},
        ],
        search={
            "sampler": "random",
            "fidelity": {"min": 1, "max": 3, "factor": 3},
            "constraints": {"params": 200},
            "patience": 2,
        },
        budget={"trials": 3},
    )
    result = found(recipe)
    split, large, plain = result.trials
    assert (large.status, large.epochs, large.value) == ("infeasible", 0.1, None)
    assert (split.gradient_accumulation, split.lost_epochs, plain.lost_epochs) == (4, 2, 0)
    for trial in (split, plain):
        assert trial.status in ("complete", "stopped")
        assert trial.epochs - trial.lost_epochs == 4 * len(trial.reports)
        assert all(set(report.metric_spread or {}) == {"loss", "accuracy"} for report in trial.reports)
    assert result.rung_costs == (4, 8)
    assert result.spent.epochs == sum(trial.epochs for trial in result.trials)
    assert result.final is not None  # fitted again in parts, where the winner needed that
    assert result.test is not None
    text = search_page(result, [])
    assert "infeasible" in text
    assert "more than the 200 allowed" in text
    header, rows = trials_rows(result)
    assert [row[header.index("gradient_accumulation")] for row in rows] == [4, None, None]
    assert "split into 4 micro-batches" in rows[0][header.index("message")]


def test_a_trial_that_hangs_is_ended() -> None:
    recipe = blobs_recipe(
        {"fault": "hangs", "lr": 0.1},
        search={"sampler": "random", "scheduler": "none", "fidelity": {"max": 1}, "trial_time": "1s"},
        budget={"trials": 1},
    )
    result, error = search_outcome(recipe, device="cpu", num_workers=1)
    assert isinstance(error, NothingFitsError)
    (hung,) = result.trials
    assert (hung.status, hung.value) == ("timeout", None)
    assert "1.00 s" in (hung.message or "")
    assert hung.epochs == hung.lost_epochs == 1


def test_shares_of_the_data_are_climbed_and_the_final_training_has_all_of_it() -> None:
    recipe = blobs_recipe(
        search={
            "sampler": "random",
            "fidelity": {"unit": "data", "min": 0.25, "max": 1.0, "factor": 2, "epochs": 2},
            "on_oom": "infeasible",
        },
        budget={"epochs": 12},
    )
    result = found(recipe)
    assert (result.rung_unit, result.rungs, result.rung_costs) == ("data", (250, 500, 1000), (0.5, 1, 2))
    assert result.spent.epochs <= 12
    top = [trial for trial in result.trials if trial.rungs == result.rungs]
    assert top
    assert {(trial.status, trial.epochs, len(trial.reports)) for trial in top} == {("complete", 3.5, 2)}
    assert result.final is not None
    assert result.final.epochs <= 2
    text = search_page(result, [])
    assert "ranked on 25 %, 50 %, 100 % of the training data" in text
