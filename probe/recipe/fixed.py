"""A recipe of one configuration: what it trains, and making one out of a search's winner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probe.errors import RecipeError
from probe.recipe.schema import Recipe
from probe.recipe.values import ParamValue


def fixed_params(recipe: Recipe) -> dict[str, ParamValue]:
    """The recipe's one configuration. Raises RecipeError where [space] leaves something to search."""
    open_names = list(recipe.searched)
    if open_names:
        listed = ", ".join(open_names[:-1]) + (" and " if open_names[1:] else "") + open_names[-1]
        raise RecipeError(
            f"The recipe {recipe.name} leaves {listed} to search, and training takes one value of each.",
            hint=f"Search it first (probe search writes a best.toml), or give values: --set space.{open_names[0]}=...",
        )
    return recipe.constants


def with_seed(recipe: Recipe, seed: int) -> Recipe:
    """With `seed` in place of search.seed."""
    return recipe.model_copy(update={"search": recipe.search.model_copy(update={"seed": seed})})


def fixed_plain(plain: Mapping[str, Any], params: Mapping[str, ParamValue], *, epochs: int) -> dict[str, Any]:
    """What a TOML file holds that trains `params` for `epochs`: the name, task and seed of `plain`, a recipe as TOML reads it.

    It is a whole recipe: `probe train` trains it, `probe lr` probes it, and `probe search` finds nothing left to search.
    A searched length gives way to `epochs`: a recipe says one length in search.fidelity only.
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
