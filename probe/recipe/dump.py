"""Writing a recipe: Recipe -> TOML text, and a hash of its content; recipes with a single configuration. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import tomli_w

from probe.errors import RecipeError
from probe.printable import escaped
from probe.recipe.schema import Recipe
from probe.recipe.values import ParamValue


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as TOML, defaults included; loading the text returns an equal recipe."""
    return dump_plain(recipe.to_plain())


def dump_plain(plain: Mapping[str, Any], *, comments: Mapping[str, str] | None = None) -> str:
    """The content of a recipe file as TOML, with `comments` like {"space.lr": "..."} after their keys. Tables inside a section
    are written inline, which keeps the order of [space]: TOML requires separate tables to follow all plain values."""
    comments = comments or {}
    lines = [_pair(key, value) for key, value in plain.items() if not isinstance(value, (dict, list))]
    for name, section in plain.items():
        if isinstance(section, dict):
            lines += ["", f"[{name}]", *_pairs(name, section, comments)]
    for configuration in plain.get("start", []):
        lines += ["", "[[start]]", *(_pair(key, value) for key, value in configuration.items())]
    return "\n".join(lines) + "\n"


def recipe_hash(recipe: Recipe) -> str:
    """Hash of the content, 16 hexadecimal digits. Layout and comments do not matter; the order of [space] does."""
    canonical = json.dumps(recipe.to_plain(), sort_keys=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def comment(text: str) -> str:
    """`text` as a TOML comment on one line; characters that a comment cannot contain become spaces."""
    return f"# {''.join(letter if letter.isprintable() else ' ' for letter in text)}".rstrip()


def _pairs(name: str, section: Mapping[str, Any], comments: Mapping[str, str]) -> list[str]:
    lines = [_pair(key, value) for key, value in section.items()]
    texts = [comments.get(f"{name}.{key}") for key in section]
    width = max((len(line) for line, text in zip(lines, texts, strict=True) if text), default=0)
    return [
        line if text is None else f"{line:<{width}}  {comment(text)}" for line, text in zip(lines, texts, strict=True)
    ]


def _pair(key: str, value: Any) -> str:
    return f"{_key(key)} = {_inline(value)}"


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_pair(key, item) for key, item in value.items()) + " }" if value else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    return escaped(tomli_w.dumps({"x": value}).removeprefix("x = ").removesuffix("\n"))


def _key(key: str) -> str:
    return escaped(tomli_w.dumps({key: 0}).removesuffix(" = 0\n"))


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
    """The content of a complete recipe that trains `params` for `epochs`, with the name, task and seed of the parsed recipe
    `plain`. `epochs` also replaces space.epochs, because a recipe with a single length sets it in search.fidelity."""
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
