from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from made_recipes import digits_recipe

from probe.errors import OutputError, UsageError
from probe.search.find import find_hyperparameters
from probe.search.records.search import SearchResult
from probe.search.samplers.optuna_export import export_to_optuna


@pytest.fixture(scope="module")
def result() -> SearchResult:
    recipe = digits_recipe(
        space={
            "lr": {"low": 1e-3, "high": 0.1, "log": True},
            "optimizer": {"choices": ["sgd", "adam"]},
            "momentum": {"low": 0.5, "high": 0.95, "when": {"optimizer": "sgd"}},
            "width": {"low": 16, "high": 64, "pow2": True},
            "batch_size": 64,
        },
        start=[{"optimizer": "adam"}],
        search={"sampler": "random", "fidelity": {"min": 1, "max": 2, "factor": 2}},
        budget={"trials": 4},
    )
    found = find_hyperparameters(recipe, device="cpu", num_workers=1)
    lost = replace(found.trials[-1], status="oom", value=None, message="out of memory")
    given = replace(found.trials[0], params={**found.trials[0].params, "lr": 0.5})  # a start point of a probed range
    return replace(found, trials=(given, *found.trials[1:-1], lost), best=None)


def test_optuna_opens_what_was_exported(result: SearchResult, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'x.db'}"
    assert export_to_optuna(result, storage=storage, study_name="run") == len(result.trials)
    study = optuna.load_study(storage=storage, study_name="run")
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert study.user_attrs["recipe"] == result.recipe
    searched = {dimension.name for dimension in result.space}
    for trial, ours in zip(study.get_trials(), result.trials, strict=True):
        assert trial.params == {name: value for name, value in ours.params.items() if name in searched}
        assert trial.intermediate_values == {report.epoch: report.metrics["accuracy"] for report in ours.reports}
        assert trial.value == ours.value
        assert trial.user_attrs["status"] == ours.status
        assert trial.user_attrs["batch_size"] == 64
        assert trial.state.name == {"complete": "COMPLETE", "stopped": "COMPLETE", "oom": "PRUNED"}[ours.status]
    assert study.best_value == max(ours.value for ours in result.trials if ours.value is not None)
    assert study.get_trials()[-1].user_attrs["message"] == "out of memory"
    first = study.get_trials()[0].distributions
    assert first["lr"] == optuna.distributions.FloatDistribution(1e-3, 0.5, log=True)  # the start point lies outside
    assert first["width"] == optuna.distributions.IntDistribution(16, 64, log=True)
    assert study.get_trials()[0].duration is not None


def test_a_study_is_not_written_over(result: SearchResult, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'x.db'}"
    export_to_optuna(result, storage=storage, study_name="run")
    with pytest.raises(OutputError, match="already has a study named run"):
        export_to_optuna(result, storage=storage, study_name="run")


@pytest.mark.parametrize("storage", ["x.db", "nothing://x", "sqlite:////no/such/folder/x.db"])
def test_a_place_that_cannot_be_opened_is_a_sentence(result: SearchResult, storage: str) -> None:
    with pytest.raises((UsageError, OutputError), match="Optuna"):
        export_to_optuna(result, storage=storage, study_name="run")
