"""Recipes with a single configuration: reading its values, and making one from the best trial of a search. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probe.errors import RecipeError
from probe.recipe.schema import Recipe
from probe.recipe.values import ParamValue


def fixed_params(recipe: Recipe) -> dict[str, ParamValue]:
    """The only configuration of the recipe. Raises RecipeError if [space] contains searched hyperparameters."""
    open_names = list(recipe.searched)
    if open_names:
        listed = ", ".join(open_names[:-1]) + (" and " if open_names[1:] else "") + open_names[-1]
        raise RecipeError(
            f"The recipe {recipe.name} leaves {listed} to search, but training needs one value of each hyperparameter.",
            hint=f"Run probe search, which writes a best.toml, or set values: --set space.{open_names[0]}=...",
        )
    return recipe.constants


def with_seed(recipe: Recipe, seed: int) -> Recipe:
    """A copy of the recipe with search.seed = `seed`."""
    return recipe.model_copy(update={"search": recipe.search.model_copy(update={"seed": seed})})


def fixed_plain(plain: Mapping[str, Any], params: Mapping[str, ParamValue], *, epochs: int) -> dict[str, Any]:
    """The content of a recipe that trains `params` for `epochs`, with the name, task and seed of the parsed recipe `plain`.

    The result is a complete recipe for `probe train`, `probe lr` and `probe batch`. If epochs were searched, `epochs` replaces
    space.epochs, because a recipe with a single length sets it in search.fidelity.
    """
    search = plain.get("search")
    seed = search.get("seed", 0) if isinstance(search, Mapping) else 0
    return {
        "schema": plain["schema"],
        "name": plain["name"],
        "task": plain["task"],
        "space": {name: value for name, value in params.items() if name != "epochs"},
        "search": {
            "scheduler": "none",
            "seed": seed,
            "fidelity": {"min": epochs, "max": epochs},
        },
        "budget": {"trials": 1},
    }
