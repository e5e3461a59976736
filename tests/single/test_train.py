"""Whole trainings of one configuration."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from made_recipes import blobs_recipe
from safetensors.torch import load_model
from torch import nn

import probe
from probe.errors import NothingFitsError, RecipeError, UsageError
from probe.recipe.schema import Recipe
from probe.records_json import from_plain, to_plain
from probe.single.records import TrainResult, TrainStarted
from probe.single.train import outcome_error, train
from probe.training.records import EpochReport

SPACE: dict[str, Any] = {"lr": 0.1, "width": 8}


def constants(**changes: Any) -> Recipe:
    return blobs_recipe(SPACE | changes, search={"fidelity": {"max": 4}})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainResult, list[Any], Path]:
    folder = tmp_path_factory.mktemp("run")
    seen: list[Any] = []
    return train(constants(), device="cpu", folder=folder, observer=seen.append), seen, folder


def test_the_record_holds_the_fidelity(trained: tuple[TrainResult, list[Any], Path]) -> None:
    result, seen, _ = trained
    assert result.stopped_by == "finished"
    assert [report.epoch for report in result.reports] == [1, 2, 3, 4]
    assert (result.num_train, result.num_val, result.num_test) == (128, 32, 40)
    assert result.params == SPACE
    assert result.last_value == result.reports[-1].metrics["accuracy"]
    assert result.best_value == max(report.metrics["accuracy"] for report in result.reports)
    assert seen == [TrainStarted(epochs=4, num_train=128, num_val=32, num_test=40, metric="accuracy"), *result.reports]
    assert outcome_error(result) is None
    assert from_plain(TrainResult, to_plain(result)) == result


def test_the_weights_are_those_that_were_scored(trained: tuple[TrainResult, list[Any], Path]) -> None:
    from searched_task import blobs

    result, _, folder = trained
    task = blobs(width=8)
    model = task.model()
    load_model(model, folder / (result.weights_file or ""))
    inputs, targets = task.test
    assert result.test is not None
    assert (model(inputs).argmax(dim=1) == targets).float().mean().item() == pytest.approx(result.test.value)
    assert (result.test.low or 0) < result.test.value <= (result.test.high or 0)


def test_equal_seeds_train_alike_and_others_do_not(trained: tuple[TrainResult, list[Any], Path]) -> None:
    def losses(result: TrainResult) -> list[float]:
        return [report.train_loss for report in result.reports]

    assert losses(train(constants(), device="cpu")) == losses(trained[0])
    assert losses(train(constants(), device="cpu", seed=1)) != losses(trained[0])


def test_all_data_trains_on_the_validation_part_too() -> None:
    result = train(constants(), device="cpu", all_data=True, epochs=2)
    assert (result.num_train, result.num_val, result.epochs) == (160, None, 2)
    assert (result.best_value, result.last_value) == (None, None)
    assert all(report.val_loss is None for report in result.reports)
    assert result.test is not None
    assert result.weights_file is None  # no folder was given


def test_divergence_is_a_value_and_an_error_for_the_user(tmp_path: Path) -> None:
    result = train(constants(fault="diverges"), device="cpu", folder=tmp_path)
    assert (result.stopped_by, result.reports, result.test, result.weights_file) == ("diverged", (), None, None)
    assert result.diagnosis is None
    assert isinstance(outcome_error(result), NothingFitsError)
    assert not list(tmp_path.iterdir())


def test_running_out_of_memory_is_a_value() -> None:
    result = train(constants(fault="out_of_memory"), device="cpu")
    assert result.stopped_by == "oom"
    assert "space.batch_size" in (getattr(outcome_error(result), "hint", None) or "")


def test_the_users_own_error_passes() -> None:
    with pytest.raises(ZeroDivisionError, match="a bug of the user's own"):
        train(constants(fault="raises"), device="cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"epochs": 0}, "epochs must be"), ({"epochs": True}, "epochs must be"), ({"device": "warp"}, "warp")],
)
def test_bad_arguments_are_refused_before_anything_is_trained(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train(constants(), **{"device": "cpu", **options})


def test_bad_recipes_are_refused_before_anything_is_trained() -> None:
    with pytest.raises(RecipeError, match="leaves lr to search"):
        train(blobs_recipe(), device="cpu")
    with pytest.raises(RecipeError, match="wdith"):
        train(constants(wdith=3), device="cpu")
    task = {"target": "searched_task:blobs", "objective": {"metric": "acuracy", "mode": "max"}}
    with pytest.raises(RecipeError, match="Unknown metric 'acuracy'"):
        train(blobs_recipe(SPACE, task=task), device="cpu")


def test_an_interrupt_after_an_epoch_keeps_its_weights(tmp_path: Path) -> None:
    def interrupt(record: Any) -> None:
        if isinstance(record, EpochReport) and record.epoch == 2:
            raise KeyboardInterrupt

    result = train(constants(), device="cpu", folder=tmp_path, observer=interrupt)
    assert (result.stopped_by, len(result.reports), result.test) == ("interrupted", 2, None)
    assert outcome_error(result) is None
    whole = train(constants(), device="cpu", folder=_made(tmp_path / "whole"))
    assert result.reports[1].train_loss == whole.reports[1].train_loss
    assert result.weights_file is not None


class _Interrupted(nn.Linear):
    """Ctrl-C in the middle of the fourth epoch: 8 training batches and one of validation each, one more of these before."""

    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        type(self).calls += 1
        if self.calls == 1 + 3 * 9 + 4:
            raise KeyboardInterrupt
        return super().forward(x)


def interrupted_task() -> probe.Task:
    _Interrupted.calls = 0
    inputs = torch.randn(160, 4, generator=torch.Generator().manual_seed(0))
    return probe.Task(
        model=lambda: _Interrupted(4, 2),
        train=(inputs, (inputs[:, 0] > 0).long()),
        metrics={"accuracy": "accuracy"},
        optimizer="sgd",
        batch_size=16,
    )


def test_an_interrupt_within_an_epoch_goes_back_to_the_one_before(tmp_path: Path) -> None:
    task = {"target": "test_train:interrupted_task", "objective": {"metric": "loss", "mode": "min"}}
    recipe = blobs_recipe({"lr": 0.5}, task=task)
    kept: list[Any] = []
    result = train(recipe, device="cpu", folder=tmp_path, epochs=9, observer=kept.append)
    assert (result.stopped_by, len(result.reports)) == ("interrupted", 3)
    short = train(recipe, device="cpu", folder=_made(tmp_path / "short"), epochs=3)
    models = [nn.Linear(4, 2), nn.Linear(4, 2)]
    load_model(models[0], tmp_path / (result.weights_file or ""))
    load_model(models[1], tmp_path / "short" / (short.weights_file or ""))
    assert torch.equal(models[0].weight, models[1].weight)


def test_an_interrupt_in_the_first_epoch_passes() -> None:
    def interrupt(record: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(constants(), device="cpu", observer=interrupt)


def test_weights_that_cannot_be_written_do_not_take_the_score_with_them(tmp_path: Path) -> None:
    result = train(constants(), device="cpu", folder=tmp_path / "nowhere")
    assert result.weights_file is None
    assert result.test is not None
    assert any("cannot be written" in warning for warning in result.warnings)


def test_it_is_a_public_name() -> None:
    assert probe.train is train
    started = time.perf_counter()
    result = probe.train(constants(), epochs=1, device="cpu")
    assert 0 < result.seconds <= time.perf_counter() - started
    assert math.isfinite(result.reports[0].train_loss)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
