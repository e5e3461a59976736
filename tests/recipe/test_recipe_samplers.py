"""Which sampler goes with which space, and configurations that are named on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipe_texts import RECIPE, message

from probe.errors import RecipeError
from probe.recipe.dump import dump_recipe
from probe.recipe.load import load_recipe


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "example.toml"
    path.write_text(RECIPE)
    return path


NUMBERS = ("space.optimizer=adam", "space.momentum=0.9")
"""Overrides that leave nothing but numbers, all of which always exist."""


@pytest.mark.parametrize("sampler", ["cma-es", "qmc"])
def test_samplers_that_need_a_fixed_space(path: Path, sampler: str) -> None:
    front = f"search.sampler: {sampler} does not support conditions, and momentum has one (when)"
    assert message(path, f"search.sampler={sampler}").startswith(front)
    two = 'space.decoupled={choices=[true, false], when={optimizer="adam"}}'
    assert "momentum and decoupled have one" in message(path, f"search.sampler={sampler}", two)
    assert load_recipe(path, overrides=[*NUMBERS, f"search.sampler={sampler}"]).search.sampler == sampler


@pytest.mark.parametrize("sampler", ["auto", "gp", "tpe", "random", "grid", "evolutionary"])
def test_samplers_that_take_any_space(path: Path, sampler: str) -> None:
    assert load_recipe(path, overrides=[f"search.sampler={sampler}"]).search.sampler == sampler


def test_cma_es_searches_at_least_two_numbers_and_nothing_else(path: Path) -> None:
    said = message(path, "search.sampler=cma-es", "space.momentum=0.9")
    assert said.startswith("search.sampler: cma-es supports numbers only, and optimizer is a list of choices")
    few = ("space.batch_size=8", "space.layers=1", "space.width=8")
    said = message(path, *NUMBERS, *few, "search.sampler=cma-es")
    assert said.startswith("search.sampler: cma-es needs at least two hyperparameters, not 1")


def test_steps_are_kept(path: Path) -> None:
    recipe = load_recipe(path, overrides=["space.layers.steps=2", "space.lr.steps=7"])
    assert (recipe.space["layers"].steps, recipe.space["lr"].steps) == (2, 7)  # type: ignore[union-attr]
    assert "steps = 7" in dump_recipe(recipe)


def test_tries_go_before_the_recipes_own_starting_configurations(path: Path) -> None:
    tries = ["lr=0.01, width=16", 'optimizer="sgd",momentum=.9', "optimizer = adam"]
    recipe = load_recipe(path, overrides=["start=[{layers=2}]"], tries=tries)
    assert recipe.start == (
        {"lr": 0.01, "width": 16},
        {"optimizer": "sgd", "momentum": 0.9},
        {"optimizer": "adam"},
        {"layers": 2},
    )
    assert type(recipe.start[0]["width"]) is int
    assert load_recipe(path).start == ()


def test_a_comma_in_quotes_is_part_of_the_text(path: Path) -> None:
    overrides = ['space.optimizer={choices=["sgd", "adam"]}', 'space.rule={choices=["a,b", "c"]}']
    recipe = load_recipe(path, overrides=overrides, tries=["rule='a,b',layers=3", 'layers=1,rule="a,b"'])
    assert recipe.start == ({"rule": "a,b", "layers": 3}, {"layers": 1, "rule": "a,b"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lr=-1", "--try lr=-1: lr: must be a number above 0, not -1."),
        ("width=9", "--try width=9: width: must be a power of two from 8 to 32, not 9."),
        ("widht=8", "--try widht=8: widht: there is no such hyperparameter in [space]; did you mean width?"),
        ("dropout=0.2", "--try dropout=0.2: dropout: must be 0.1, the value in [space], not 0.2."),
        (
            "momentum=0.9",
            '--try momentum=0.9: momentum: requires optimizer = "sgd" in the same configuration.',
        ),
        ("lr=[1]", "--try lr=[1]: lr: must be text, a number, true or false, not [1]."),
        ("lr=inf", "--try lr=inf: lr: must be a finite number, not Infinity."),
        (
            "layers=2020-01-01",
            "--try layers=2020-01-01: layers: must be text, a number, true or false, not 2020-01-01.",
        ),
        ("lr=1,lr=2", "--try lr=1,lr=2: lr is set twice."),
        ("lr", "--try lr: 'lr' does not set a hyperparameter."),
        ("lr=1,", "--try lr=1,: '' does not set a hyperparameter."),
        ("lr=", "--try lr=: 'lr=' does not set a hyperparameter."),
        ("", "--try : '' does not set a hyperparameter."),
    ],
)
def test_a_try_is_checked_like_a_starting_configuration(path: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, tries=["layers=2", text])
    assert caught.value.message == said
