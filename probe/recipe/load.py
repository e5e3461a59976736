"""Loading a recipe: TOML file -> Recipe."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from probe.errors import RecipeError, near_misses
from probe.files import read_text, reason, relative_hint, working_directory_is_gone
from probe.recipe.checks import check_start
from probe.recipe.explain import explain
from probe.recipe.schema import Recipe
from probe.recipe.toml import MAX_BYTES, check_plain, parse_toml
from probe.recipe.values import ParamValue, check_param_value, show

_OUTSIDE_QUOTES = re.compile(r""",(?=(?:[^"']|"[^"]*"|'[^']*')*$)""")
MAX_SHOWN = 200
"""Characters of a line or an option with a mistake that are shown."""
MAX_MISTAKES = 5
"""Maximum number of mistakes that one error message lists."""


def load_recipe(
    path: str | Path, *, overrides: Sequence[str] = (), tries: Sequence[str] = (), target: str | None = None
) -> Recipe:
    """Load and validate the recipe in the TOML file `path`.

    `overrides` set keys before validation, like `search.seed=1`; the value is TOML, or a bare word. `tries` are configurations
    to put before the [[start]] entries, like `lr=0.01,width=64`. `target` is a `module:callable` that replaces the model and
    data of [task]. Raises RecipeError, which lists up to five mistakes.
    """
    path = Path(path)
    content = _parse_toml(path, _read_text(path))
    for override in overrides:
        _apply(content, override)
    if target is not None and isinstance(content.get("task"), dict):
        content["task"] = with_target(content["task"], target)
    where = str(path)
    if overrides:
        where += f" with {', '.join(map(_shortened, overrides))}"
    recipe = parse_recipe(content, where=where)
    given = tuple(_parse_try(recipe, text) for text in tries)
    return recipe.model_copy(update={"start": (*given, *recipe.start)}) if given else recipe


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def with_target(task: Mapping[str, Any], target: str) -> dict[str, Any]:
    """The [task] table with `target` in place of its model and data."""
    named = ("model", "data", "image_size", "num_train", "weights", "data_options")
    return {**{key: value for key, value in task.items() if key not in named}, "target": target}


def parse_recipe(content: Mapping[str, Any], *, where: str) -> Recipe:
    """Validate a parsed TOML file; `where` names it in errors. Raises RecipeError if it breaks the schema."""
    schema = content.get("schema")
    if isinstance(schema, int) and not isinstance(schema, bool) and schema > 1:
        raise RecipeError(
            f"{where}: schema {show(schema)} is not supported; this version of probe reads schema 1.",
            hint="Install a newer version of torch-probe, or write the recipe for schema 1.",
        )
    try:
        check_plain(content)
        return Recipe.model_validate(dict(content))
    except ValidationError as error:
        mistakes = list(dict.fromkeys(explain(detail) for detail in error.errors(include_url=False)))
    except UnicodeEncodeError:  # a message that quotes bytes of the command line
        raise RecipeError(f"{where}: a value contains bytes that are not UTF-8 text.") from None
    except ValueError as error:
        raise RecipeError(f"{where}: {error}.") from None
    if len(mistakes) == 1:
        raise RecipeError(f"{where}: {mistakes[0]}")
    shown = [f"  {mistake}" for mistake in mistakes[:MAX_MISTAKES]]
    if len(mistakes) > MAX_MISTAKES:
        shown.append(f"  and {len(mistakes) - MAX_MISTAKES} more.")
    raise RecipeError("\n".join([f"{where} has {len(mistakes)} mistakes:", *shown]))


def _read_text(path: Path) -> str:
    try:
        return read_text(path, most=MAX_BYTES)
    except FileNotFoundError:
        raise RecipeError(f"There is no recipe {path}.", hint=_similar_files(path)) from None
    except IsADirectoryError:
        names = sorted(file.name for file in path.glob("*.toml"))
        hint = f"Recipes in it: {', '.join(names)}." if names else "It contains no .toml file."
        raise RecipeError(f"{path} is a folder, not a recipe.", hint=hint) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise RecipeError(
            f"{path}: line {line} is not UTF-8 text.", hint="Save the file with UTF-8 encoding."
        ) from None
    except OSError as error:
        raise RecipeError(f"Could not read {path}: {reason(error)}.") from None


def _similar_files(path: Path) -> str | None:
    if not path.parent.is_dir():
        return f"There is no folder {path.parent} either."
    if not path.is_absolute() and working_directory_is_gone():
        return relative_hint()
    names = [file.name for file in path.parent.glob("*.toml")]
    close = near_misses(path.name, names) or near_misses(f"{path.name}.toml", names)
    if close:
        return f"Did you mean {' or '.join(str(path.parent / name) for name in close)}?"
    return f"Recipes in {path.parent}: {', '.join(sorted(names))}." if names else None


def _parse_toml(path: Path, text: str) -> dict[str, Any]:
    try:
        return parse_toml(text)
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", str(error), flags=re.DOTALL)
        if found is None:
            raise RecipeError(f"{path} is not valid TOML: {error}.") from None
        problem, line, column = found.groups()
        written = _shortened(text.split("\n")[int(line) - 1].strip())
        raise RecipeError(f"{path}, line {line}, column {column}: not valid TOML: {problem}.", hint=written) from None
    except ValueError as error:
        raise RecipeError(f"{path}: {error}.") from None


def _apply(content: dict[str, Any], given: str) -> None:
    key, equals, text = given.partition("=")
    override = _shortened(given)
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts) or not text.strip():
        raise RecipeError(
            f"'{override}' does not set a key of the recipe.", hint="Write key=value, like search.seed=1."
        )
    table = content
    for depth, part in enumerate(parts[:-1], start=1):
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise RecipeError(f"'{override}': {'.'.join(parts[:depth])} is not a table, so its keys cannot be set.")
    table[parts[-1]] = _parse_value(override, text.strip())


def _parse_try(recipe: Recipe, given: str) -> dict[str, ParamValue]:
    configuration: dict[str, ParamValue] = {}
    text = _shortened(given)
    for pair in _OUTSIDE_QUOTES.split(given):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not name or not value:
            raise RecipeError(
                f"--try {text}: '{pair.strip()}' does not set a hyperparameter.",
                hint="Write name=value pairs, like --try lr=0.01,width=64.",
            )
        if name in configuration:
            raise RecipeError(f"--try {text}: {name} is set twice.")
        configuration[name] = _parse_value(f"--try {text}", value)
    try:
        for name, chosen in configuration.items():
            try:
                check_param_value(chosen)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        check_start(recipe.space, configuration, 1)
    except ValueError as error:
        said = str(error).removeprefix("start[1].")
        raise RecipeError(f"--try {text}: {said}{'' if said.endswith('?') else '.'}") from None
    return configuration


def _parse_value(override: str, text: str) -> Any:
    try:
        parsed = parse_toml(f"value = {text}")
    except tomllib.TOMLDecodeError as error:
        if text[0] in "\"'[{":
            problem = str(error).partition(" (at")[0]
            raise RecipeError(f"'{override}': the value is not valid TOML: {problem}.") from None
        return _number_or_word(text)
    except ValueError as error:
        raise RecipeError(f"'{override}': {str(error).removeprefix('value: ')}.") from None
    return parsed["value"] if len(parsed) == 1 else text


def _number_or_word(text: str) -> float | str:
    # TOML does not accept `.5` and `1.` as numbers.
    if re.fullmatch(r"[+-]?(\d+\.|\.\d+)([eE][+-]?\d+)?", text):
        return float(text)
    return text
