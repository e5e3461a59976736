"""[task] num_train: a smaller training part."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from probe.errors import RecipeError
from probe.recipe.dump import dump_recipe
from probe.recipe.load import parse_recipe
from probe.tasks.source import NamedSource, recipe_source

OBJECTIVE = {"metric": "accuracy", "mode": "max"}


def made(seed: int = 0, **task: Any) -> Any:
    named = {} if "target" in task else {"model": "mlp", "data": "digits"}
    content = {"schema": 1, "name": "few", "task": {**named, "objective": OBJECTIVE, **task}, "space": {"lr": 0.1}}
    return parse_recipe(content | {"search": {"seed": seed}, "budget": {"trials": 1}}, where="few.toml")


def source(recipe: Any) -> NamedSource:
    found = recipe_source(recipe)
    assert isinstance(found, NamedSource)
    return found


def test_it_reaches_the_task_and_survives_dumping() -> None:
    recipe = made(num_train=300)
    assert parse_recipe(tomllib.loads(dump_recipe(recipe)), where="again") == recipe
    assert source(recipe).num_train == 300
    assert source(made()).num_train is None
    assert source(made(seed=1, num_train=300)).subset_seed != source(recipe).subset_seed


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"num_train": 1}, r"task\.num_train: must be at least 2, not 1"),
        ({"num_train": 0.1}, r"task\.num_train: must be a whole number, not 0\.1"),
        ({"numtrain": 100}, r"task\.numtrain: there is no such key in \[task\]; did you mean num_train\?"),
        ({"target": "a:b", "num_train": 9}, "target cannot be combined with num_train"),
    ],
)
def test_mistakes_are_named(task: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        made(**task)
