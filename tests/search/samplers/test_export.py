from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from made_records import search_result

from probe.errors import OutputError, UsageError
from probe.search.records.search import SearchResult
from probe.search.samplers.optuna_export import export_to_optuna


@pytest.fixture(scope="module")
def result() -> SearchResult:
    found = search_result(num_trials=13, best=None)
    space = tuple(replace(dimension, per=None) for dimension in found.space)
    outside = replace(found.trials[0], params={**found.trials[0].params, "lr": 2.5})  # a start point outside the range
    return replace(found, space=space, trials=(outside, *found.trials[1:]))


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
        assert trial.user_attrs["dropout"] == 0.1
        assert trial.state.name == {"complete": "COMPLETE", "stopped": "COMPLETE", "oom": "PRUNED"}[ours.status]
    assert study.best_value == max(ours.value for ours in result.trials if ours.value is not None)
    assert study.get_trials()[-1].user_attrs["message"] == result.trials[-1].message
    first = study.get_trials()[0].distributions
    (lr,) = (dimension for dimension in result.space if dimension.name == "lr")
    assert lr.low is not None
    assert first["lr"] == optuna.distributions.FloatDistribution(lr.low, 2.5, log=True)
    assert first["width"] == optuna.distributions.IntDistribution(8, 32, log=True)
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
