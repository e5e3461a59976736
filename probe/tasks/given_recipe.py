"""A recipe for a task that is given in Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from probe.recipe.load import load_recipe, parse_recipe, with_target
from probe.recipe.schema import Recipe
from probe.task import Task
from probe.tasks.given import TaskFunction, target_of


def recipe_with_task(
    recipe: Recipe | Path | str, task: Task | TaskFunction | None, *, overrides: Sequence[str] = ()
) -> Recipe:
    """The recipe, read where it is a path; with a `task`, that takes the place of what its [task] names. Raises RecipeError."""
    target = None if task is None else target_of(task)
    if not isinstance(recipe, Recipe):
        return load_recipe(recipe, overrides=overrides, target=target)
    if target is None:
        return recipe
    plain = recipe.to_plain()
    return parse_recipe({**plain, "task": with_target(plain["task"], target)}, where=recipe.name)
