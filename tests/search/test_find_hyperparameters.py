"""Whole searches with real training."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made_recipes import blobs_recipe, digits_recipe
from safetensors.torch import load_file
from searches import search_outcome

from probe.batch.records import BatchResult
from probe.diagnosis.diagnose import diagnose
from probe.errors import NothingFitsError, ProbeError, RecipeError, UserCodeError
from probe.lr.records import LrResult
from probe.records_json import from_plain, to_plain
from probe.search.executors.local import LocalExecutor
from probe.search.find import find_hyperparameters, outcome_error
from probe.search.records.search import SearchProgress, SearchResult, TrialResult
from probe.search.results import untrained_loss
from probe.tasks.source import recipe_source
from probe.training.settings import task_params

pytestmark = pytest.mark.usefixtures("warm_workers")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, warm_workers: None) -> tuple[SearchResult, list[Any], Path]:
    folder = tmp_path_factory.mktemp("run")
    seen: list[Any] = []
    result = find_hyperparameters(digits_recipe(), observer=seen.append, device="cpu", folder=folder, num_workers=1)
    return result, seen, folder


def test_the_answer_rests_on_a_real_trial(digits: tuple[SearchResult, list[Any], Path]) -> None:
    result = digits[0]
    assert result.best is not None
    assert result.best.value > 0.8
    assert result.trials[0].params["lr"] == 0.01  # the start point
    assert result.trials[0].params["optimizer"] == "adam"
    assert "complete" in {trial.status for trial in result.trials}
    assert result.rungs == (1, 2, 4)
    assert from_plain(SearchResult, to_plain(result)) == result


def test_the_probes_shaped_the_space_and_are_paid_from_the_budget(
    digits: tuple[SearchResult, list[Any], Path],
) -> None:
    result = digits[0]
    assert result.batch_probe is not None
    assert result.batch_probe.largest_fit == 64
    assert {attempt.purpose for attempt in result.batch_probe.attempts} == {"size"}
    assert set(result.lr_probes) == {"sgd", "adam"}
    space = {dimension.name: dimension for dimension in result.space}
    assert space["batch_size"].high == 64
    assert set(space["lr"].per or {}) == {"sgd", "adam"}
    assert 0 < result.spent.probe_epochs <= 0.1 * 60 + 1
    trained = sum(trial.epochs for trial in result.trials)
    assert result.spent.epochs == pytest.approx(trained + result.spent.probe_epochs)
    assert result.spent.epochs <= 60


def test_the_winner_is_fitted_again_and_scored_once(digits: tuple[SearchResult, list[Any], Path]) -> None:
    result = digits[0]
    assert result.final is not None
    assert result.test is not None
    assert result.best is not None
    winner = result.trials[result.best.number]
    best = max(winner.reports, key=lambda report: report.metrics["accuracy"])
    assert result.final.epochs == best.epoch == len(result.final.reports)
    assert result.test.metric == "accuracy"
    assert 0.7 < (result.test.low or 0) < result.test.value < (result.test.high or 0) <= 1
    assert result.test.num_samples == 359 or result.test.num_samples == 360


def test_the_winners_curves_are_diagnosed_against_an_untrained_loss(
    digits: tuple[SearchResult, list[Any], Path],
) -> None:
    result = digits[0]
    assert result.best is not None
    won = result.trials[result.best.number]
    start = untrained_loss(result.lr_probes)
    assert start == pytest.approx(math.log(10), rel=0.1)
    assert result.diagnosis == diagnose(won.reports, metric="accuracy", mode="max", untrained_loss=start)
    assert result.diagnosis.kind == "too_few_epochs"  # the longest trial has four
    assert untrained_loss({}) is None


def test_a_longer_winner_gets_a_finding() -> None:
    recipe = blobs_recipe(search={"scheduler": "none", "fidelity": {"max": 8}}, budget={"trials": 1})
    result = find_hyperparameters(recipe, device="cpu", num_workers=1)
    assert result.diagnosis is not None
    assert result.diagnosis.evidence is not None
    assert result.diagnosis.evidence.num_epochs == 8


def test_the_saved_weights_have_the_test_score(digits: tuple[SearchResult, list[Any], Path]) -> None:
    result, _, folder = digits
    assert result.final is not None
    assert result.best is not None
    assert result.test is not None
    source = recipe_source(digits_recipe(), data_dir=Path("data"))
    task = source.build(task_params(source, result.best.params))
    model = task.model()
    model.load_state_dict(load_file(folder / (result.final.weights_file or "")))
    model.eval()
    with torch.no_grad():
        assert (model(task.test[0]).argmax(dim=1) == task.test[1]).float().mean().item() == pytest.approx(
            result.test.value
        )


def test_observers_saw_every_stage(digits: tuple[SearchResult, list[Any], Path]) -> None:
    result, seen, folder = digits
    stages = [record.stage for record in seen if isinstance(record, SearchProgress)]
    assert list(dict.fromkeys(stages)) == ["load", "batch", "lr", "search", "final"]
    assert [type(record) for record in seen if isinstance(record, (BatchResult, LrResult))] == [
        BatchResult,
        LrResult,
        LrResult,
    ]
    assert {record.number for record in seen if isinstance(record, TrialResult)} == set(range(len(result.trials)))
    # The checkpoints are gone, and so is the lock.
    assert sorted(file.name for file in folder.iterdir()) == ["search.sqlite", "winner.safetensors"]


def failing_search(*faults: str) -> tuple[SearchResult, ProbeError | None]:
    """Two-valued faults, the first trials with the given ones."""
    recipe = blobs_recipe(
        {"fault": {"choices": ["raises", "none"]}, "lr": {"low": 0.01, "high": 0.1}},
        start=[{"fault": fault, "lr": 0.05} for fault in faults],
        budget={"trials": len(faults) + 1},
        search={"sampler": "random", "scheduler": "none", "fidelity": {"max": 1}},
    )
    return search_outcome(recipe, device="cpu", num_workers=1)


def test_a_user_bug_ends_the_search_with_their_traceback_while_nothing_has_succeeded() -> None:
    result, error = failing_search("raises", "raises", "raises")
    assert isinstance(error, UserCodeError)
    assert "a bug of the user's own" in error.traceback
    assert result.stopped_by == "failures"
    assert [trial.status for trial in result.trials] == ["failed"] * 4
    assert result.trials[3].params["lr"] == 0.055  # the middle of the space
    assert result.spent.epochs == pytest.approx(4.4)  # each runs twice


def test_failures_after_a_success_are_failed_trials_of_a_search_that_goes_on() -> None:
    result, error = failing_search("none", "raises", "raises", "raises")
    assert error is None
    assert result.stopped_by == "trials"
    assert [trial.status for trial in result.trials[:4]] == ["complete", "failed", "failed", "failed"]
    assert len(result.trials) == 5
    assert result.test is not None


def test_ctrl_c_gives_the_partial_result() -> None:
    num_seen = 0

    def interrupt(record: Any) -> None:
        nonlocal num_seen
        num_seen += isinstance(record, TrialResult)
        if num_seen == 2:
            num_seen = -100
            raise KeyboardInterrupt

    recipe = blobs_recipe(search={"scheduler": "none", "fidelity": {"max": 1}}, budget={"trials": 50})
    result = find_hyperparameters(recipe, device="cpu", num_workers=1, observer=interrupt)
    assert result.stopped_by == "interrupted"
    assert [trial.status for trial in result.trials[:2]] == ["complete", "complete"]
    assert result.best is not None
    assert result.final is None


def test_ctrl_c_while_the_workers_end_keeps_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    close = LocalExecutor.__exit__

    def interrupted(executor: LocalExecutor, *error: object) -> None:
        close(executor, *error)
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalExecutor, "__exit__", interrupted)
    recipe = blobs_recipe(search={"scheduler": "none", "fidelity": {"max": 1}}, budget={"trials": 1})
    result = find_hyperparameters(recipe, device="cpu", num_workers=1)
    assert result.stopped_by == "trials"
    assert result.final is not None


def test_a_search_without_any_value_says_so(digits: tuple[SearchResult, list[Any], Path]) -> None:
    assert outcome_error(digits[0]) is None
    lost = tuple(replace(trial, status="diverged", value=None) for trial in digits[0].trials)
    result = replace(digits[0], trials=lost, best=None)
    error = outcome_error(result)
    assert isinstance(error, NothingFitsError)
    assert f"{len(lost)} diverged" in error.message
    assert outcome_error(replace(result, stopped_by="interrupted")) is None


def test_a_wrong_recipe_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"space\.widht"):
        find_hyperparameters(blobs_recipe({"widht": 4}), device="cpu")
    with pytest.raises(RecipeError, match="There is no recipe"):
        find_hyperparameters(tmp_path / "none.toml")


def test_the_search_itself_loads_no_pytorch() -> None:
    """Its workers do: what decides, writes and draws starts in a fraction of the time, also when it goes on after a
    kill."""
