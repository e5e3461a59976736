from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_recipes import blobs_recipe

from probe.device.select import DeviceSpec
from probe.errors import RecipeError
from probe.recipe.load import parse_recipe
from probe.recipe.schema import Recipe
from probe.search.checks import (
    check_against_task,
    check_constraints,
    check_grid,
    check_names,
    check_recipe,
    warnings_for,
)
from probe.search.schedulers.fidelity import FidelitySchedule
from probe.search.task_info import TaskInfo
from probe.tasks.source import NamedSource, TargetSource

SOURCE = TargetSource(target="searched_task:blobs")
FACTS = TaskInfo(num_train=128, num_val=32, num_test=40, metrics=("accuracy",), optimizer="sgd", batch_size=16)


def test_names_are_the_trainers_or_the_tasks() -> None:
    check_names(blobs_recipe({"lr": 0.1, "width": 4, "weight_decay": 0.0}), SOURCE)
    with pytest.raises(RecipeError, match=r"space\.widht.*\n.*width"):
        check_names(blobs_recipe({"widht": 4}), SOURCE)


@pytest.mark.parametrize(("entry", "value"), [("optimizer", "adma"), ("lr_schedule", "cosin"), ("precision", "bf61")])
def test_an_unknown_optimizer_lr_schedule_or_precision_is_named(entry: str, value: str) -> None:
    with pytest.raises(RecipeError, match=f"space.{entry}: Unknown {entry} '{value}'"):
        check_recipe(blobs_recipe({entry: {"choices": [value]}}))


@pytest.mark.parametrize(
    "space",
    [
        {"optimizer": {"choices": ["sgd", "adam"]}, "momentum": {"low": 0.5, "high": 0.9}},
        {"optimizer": "adam", "momentum": 0.9},
        {"optimizer": {"choices": ["sgd", "adam"]}, "momentum": 0.9},
    ],
)
def test_momentum_must_be_tied_to_an_optimizer_that_takes_it(space: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"adam .*momentum(.|\n)*when = \{ optimizer = \"sgd\" \}"):
        check_against_task(blobs_recipe(space), FACTS)


@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay"])
def test_what_the_tasks_own_optimizer_ignores_is_refused(name: str) -> None:
    own = replace(FACTS, optimizer=None, reached=("lr", "momentum", "weight_decay"))
    recipe = blobs_recipe({name: {"low": 0.1, "high": 0.5}})
    check_against_task(recipe, own)
    with pytest.raises(RecipeError, match=rf"space\.{name}: .*ignores it"):
        check_against_task(recipe, replace(own, reached=()))
    check_against_task(blobs_recipe({"optimizer": "sgd", name: 0.1}), replace(own, reached=()))


def test_momentum_may_exist_with_several_optimizers() -> None:
    momentum = {"low": 0.5, "high": 0.9, "when": {"optimizer": ["sgd", "nesterov"]}}
    check_against_task(
        blobs_recipe({"optimizer": {"choices": ["sgd", "nesterov", "adam"]}, "momentum": momentum}), FACTS
    )
    without = {"low": 0.5, "high": 0.9}
    with pytest.raises(RecipeError, match=r"when = \{ optimizer = \[\"sgd\", \"nesterov\"\] \}"):
        check_against_task(
            blobs_recipe({"optimizer": {"choices": ["sgd", "nesterov", "adam"]}, "momentum": without}), FACTS
        )


@pytest.mark.parametrize(
    ("metric", "mode", "warned"),
    [
        ("accuracy", "min", True),
        ("rmse", "max", True),
        ("accuracy", "max", False),
        ("loss", "max", True),
        ("mine", "max", False),
    ],
)
def test_a_metric_that_is_searched_the_wrong_way_round_is_warned_about(metric: str, mode: str, warned: bool) -> None:
    task = {"target": "searched_task:blobs", "objective": {"metric": metric, "mode": mode}}
    found = warnings_for(blobs_recipe(task=task), FACTS, FidelitySchedule(rungs=(1, 3)))
    assert ["did you mean" in warning for warning in found] == [True] * warned


def test_momentum_of_the_optimizer_that_takes_it_is_fine() -> None:
    momentum = {"low": 0.5, "high": 0.9, "when": {"optimizer": "sgd"}}
    check_against_task(blobs_recipe({"optimizer": {"choices": ["sgd", "adam"]}, "momentum": momentum}), FACTS)
    check_against_task(blobs_recipe({"momentum": 0.9}), FACTS)  # the task's own optimizer is sgd


def test_a_grid_that_is_too_large_is_refused_before_anything_is_spent() -> None:
    space = {f"x{number}": {"low": 0.0, "high": 1.0, "steps": 10} for number in range(9)}
    check_grid(blobs_recipe(space))
    recipe = blobs_recipe(space, search={"sampler": "grid"})
    with pytest.raises(RecipeError, match=r"1,000,000,000 configurations, .* at most 10,000 "):
        check_grid(recipe)


def test_a_metric_that_the_task_does_not_measure_is_refused() -> None:
    task = {"target": "searched_task:blobs", "objective": {"metric": "f1", "mode": "max"}}
    with pytest.raises(RecipeError, match="Unknown metric 'f1'"):
        check_against_task(blobs_recipe(task=task), FACTS)


def test_what_cannot_be_done_is_said_beforehand() -> None:
    fidelity = FidelitySchedule(rungs=(1, 3))
    assert warnings_for(blobs_recipe(), FACTS, fidelity) == []
    untested = TaskInfo(num_train=8, num_val=2, num_test=None, metrics=(), optimizer=None, batch_size=4)
    found = warnings_for(blobs_recipe(budget={"epochs": 2}), untested, fidelity)
    assert len(found) == 2
    assert "no test split" in found[0]
    assert "less than one full training of 3" in found[1]
    [found_empty] = warnings_for(blobs_recipe({"lr": 0.1}), FACTS, fidelity)
    assert "leaves nothing to search" in found_empty


def test_memory_cannot_be_constrained_where_nobody_counts_it() -> None:
    recipe = blobs_recipe(search={"constraints": {"memory": "1GiB", "params": 1e6}})
    with pytest.raises(RecipeError, match=r"search.constraints.memory: (.|\n)*simulated:8GiB"):
        check_constraints(recipe, DeviceSpec(kind="cpu"))
    check_constraints(recipe, DeviceSpec(kind="simulated", limit_bytes=2**30))
    check_constraints(blobs_recipe(search={"constraints": {"params": 10}}), DeviceSpec(kind="cpu"))


def digits_recipe_with(**space: Any) -> Recipe:
    content = {
        "schema": 1,
        "name": "options",
        "task": {"model": "mlp", "data": "digits", "objective": {"metric": "accuracy", "mode": "max"}},
        "space": space,
        "budget": {"trials": 1},
    }
    return parse_recipe(content, where="made")


def test_losses_and_augmentations_are_searched_like_anything_else() -> None:
    recipe = digits_recipe_with(
        loss={"choices": ["cross_entropy", "focal"]},
        focal_gamma={"low": 0.5, "high": 3.0, "when": {"loss": "focal"}},
        label_smoothing={"low": 0.0, "high": 0.2},
        augmentation={"choices": ["none", "shift+cutout"]},
        augmentation_strength={"low": 0.5, "high": 2.0},
    )
    check_names(recipe, NamedSource(model="mlp", data="digits"))
    check_recipe(recipe)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"loss": "focall"}, r"space\.loss: Unknown loss 'focall'"),
        ({"augmentation": {"choices": ["none", "flipp"]}}, r"space\.augmentation: Unknown augmentation 'flipp'"),
        ({"label_smoothing": {"low": 0.0, "high": 1.0}}, r"space\.label_smoothing: .* below 1, not 1\.0"),
        ({"focal_gamma": 2.0}, r"space\.focal_gamma: "),
        ({"loss": {"choices": ["cross_entropy", "focal"]}, "focal_gamma": 2.0}, r"focal_gamma = \{ .*focal"),
        ({"augmentation_strength": 1.0}, r"space\.augmentation_strength: "),
    ],
)
def test_options_that_cannot_be_are_named_before_anything_is_loaded(space: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check_recipe(digits_recipe_with(**space))


def test_the_focal_losss_gamma_may_be_fixed_with_it_and_names_of_a_users_own_task_are_free() -> None:
    check_recipe(digits_recipe_with(loss="focal", focal_gamma=1.5))
    check_recipe(blobs_recipe({"loss": "my own", "focal_gamma": -1.0}))


def test_every_penalty_is_searched_coupled_or_not() -> None:
    penalties = {name: {"low": 1e-6, "high": 1e-2, "log": True} for name in ("l1", "l2", "weight_decay")}
    recipe = digits_recipe_with(**penalties, decoupled={"choices": [True, False]})
    check_names(recipe, NamedSource(model="mlp", data="digits"))
    check_recipe(recipe)
    with pytest.raises(RecipeError, match="decoupled"):
        digits_recipe_with(decoupled=1)
