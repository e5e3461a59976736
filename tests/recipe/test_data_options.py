"""[task] data_options: strict, and for the kinds of data that know them."""

from __future__ import annotations

from typing import Any

import pytest

from probe.data.protocol import DataOptions
from probe.errors import RecipeError
from probe.recipe.dump import dump_recipe, recipe_hash
from probe.recipe.load import parse_recipe
from probe.recipe.schema import Recipe
from probe.tasks.source import NamedSource, recipe_source


def recipe_with(options: dict[str, Any] | None, *, data: str = "csv:houses.csv") -> Recipe:
    task: dict[str, Any] = {"model": "mlp", "data": data, "objective": {"metric": "rmse", "mode": "min"}}
    if options is not None:
        task["data_options"] = options
    return parse_recipe({"schema": 1, "name": "made", "task": task, "space": {}, "budget": {"trials": 1}}, where="made")


def test_what_a_recipe_says_of_its_data_reaches_the_task() -> None:
    given = recipe_with({"target": "price", "task_type": "regression", "ignore": ["id"], "test_fraction": 0.25})
    source = recipe_source(given)
    assert isinstance(source, NamedSource)
    assert source.data_options == DataOptions(
        target="price", task_type="regression", ignore=("id",), test_fraction=0.25, horizon=1
    )
    assert source.val_fraction == 0.2
    assert 'data_options = { target = "price"' in dump_recipe(given)


def test_no_options_are_those_of_a_recipe_without_the_table() -> None:
    without = recipe_with(None)
    assert recipe_hash(recipe_with({})) == recipe_hash(without)
    assert "data_options" not in dump_recipe(without)
    source = recipe_source(without)
    assert isinstance(source, NamedSource)
    assert source.data_options == DataOptions()


@pytest.mark.parametrize(
    ("options", "data", "said"),
    [
        ({"targe": "price"}, "csv:houses.csv", "task.data_options.targe: .*did you mean target"),
        ({"task_type": "ranking"}, "csv:houses.csv", "task.data_options.task_type: .*classification"),
        ({"ignore": "id"}, "csv:houses.csv", r'task.data_options.ignore: must be a list of columns, like \["id"\]'),
        ({"test_fraction": 1.0}, "csv:houses.csv", "task.data_options.test_fraction: "),
        ({"horizon": 0}, "series:load.csv", "task.data_options.horizon: "),
        ({"horizon": 2}, "csv:houses.csv", "task.data_options.horizon: is for series:PATH, not csv:houses.csv"),
        ({"target": "price"}, "digits", "task.data_options.target: is for csv:PATH, series:PATH, not digits"),
    ],
)
def test_mistakes_are_named(options: dict[str, Any], data: str, said: str) -> None:
    with pytest.raises(RecipeError, match=f"(?i){said}"):
        recipe_with(options, data=data)
