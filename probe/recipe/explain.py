"""One pydantic error -> one sentence with the key, the rule and the value given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from probe.errors import did_you_mean
from probe.recipe import refine, schema, sections
from probe.recipe.checks import RENAMED_KEYS
from probe.recipe.space import ENTRIES, Section
from probe.recipe.values import show

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_SECTIONS: dict[tuple[str, ...], type[Section]] = {
    (): schema.Recipe,
    ("task",): schema.TaskSection,
    ("task", "validation"): sections.Validation,
    ("task", "data_options"): sections.DataOptions,
    ("task", "objective"): schema.Objective,
    ("search",): schema.SearchSection,
    ("search", "fidelity"): sections.Fidelity,
    ("search", "constraints"): sections.Constraints,
    ("search", "refine"): refine.Refine,
    ("budget",): schema.BudgetSection,
    ("batch",): schema.BatchOptions,
    ("lr",): schema.LrOptions,
}

_RULES = {
    "missing": "is missing",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text in quotes",
    "bool_type": "must be true or false",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "dict_type": "must be a table",
    "tuple_type": "must be a list",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} entries",
}
_PATTERNS = {
    "name": "must consist of letters, digits, dots, dashes and underscores, and start with a letter or a digit",
    "target": "must be module:callable",
}
_REASONS = {
    (): "write schema = 1 at the top of the recipe",
    ("objective", "mode"): 'write "max" or "min"',
    ("objective",): 'write the metric to optimize, like objective = { metric = "accuracy", mode = "max" }',
    ("budget",): 'write a limit of the search, like [budget] with time = "2m"',
}


def explain(error: ErrorDetails) -> str:
    """The error as a sentence."""
    sentence = _explain(error)
    return sentence if sentence.endswith("?") else f"{sentence}."


def _explain(error: ErrorDetails) -> str:
    path, tag = _path_of(error["loc"])
    kind, given = error["type"], error["input"]
    key = ".".join(path)
    if kind == "value_error":
        return _join(path, str(error["ctx"]["error"]))
    if kind == "unknown_probe":
        probe = given.get("probe") if isinstance(given, Mapping) else given
        return f"{key}.probe: {error['msg'].removeprefix('probe ')}, not {show(probe)}"
    if kind == "extra_forbidden":
        return _unknown_key(path, tag)
    if kind == "missing":
        return _missing(path, tag)
    if kind == "literal_error":
        return _not_among(path, error["ctx"]["expected"], given)
    if kind == "string_pattern_mismatch":
        return f"{key}: {_PATTERNS[path[-1]]}, not {show(given)}"
    rule = _RULES.get(kind)
    sentence = error["msg"] if rule is None else rule.format(**_numbers(error.get("ctx", {})))
    return f"{key}: {sentence}, not {show(given)}" if key else f"{sentence}, not {show(given)}"


def _path_of(location: tuple[int | str, ...]) -> tuple[tuple[str, ...], str | None]:
    """The keys as written in the recipe (items of a list counted from one), and the kind of space entry that contains them. A
    pydantic location also contains that tag of the union member, in angle brackets."""
    path: list[str] = []
    tag = None
    for part in location:
        if isinstance(part, int):
            path[-1] = f"{path[-1]}[{part + 1}]"
        elif part in ENTRIES:
            tag = part
        elif part != "[key]":
            path.append(part)
    if tag == "<constant>":
        path = path[:2]
    return tuple(path), tag


def _join(path: tuple[str, ...], message: str) -> str:
    """Prefix the message with the path. A message that starts with a key continues the path with it."""
    first = message.split(":", 1)[0]
    if ":" in message and " " not in first:
        return f"{'.'.join((*path, first))}:{message.split(':', 1)[1]}"
    return f"{'.'.join(path)}: {message}" if path else message


def _known_keys(path: tuple[str, ...], tag: str | None) -> list[str]:
    model = _SECTIONS.get(path) if tag is None else ENTRIES[tag]
    return [field.alias or name for name, field in model.model_fields.items()] if model is not None else []


def _unknown_key(path: tuple[str, ...], tag: str | None) -> str:
    new = RENAMED_KEYS.get(".".join(path))
    if new is not None:
        return f"{'.'.join(path)}: was renamed; write {new}"
    *parents, key = path
    known = _known_keys(tuple(parents), tag)
    guess = did_you_mean(key, known) or f"; known: {', '.join(known)}"
    return f"{'.'.join(path)}: there is no such key in {_table(parents)}{guess}"


def _table(path: list[str]) -> str:
    if not path:
        return "a recipe"
    return f"[{path[0]}]" if len(path) == 1 else ".".join(path)


def _missing(path: tuple[str, ...], tag: str | None) -> str:
    key = ".".join(path)
    if tag == "<range>":
        return f"{'.'.join(path[:2])}: must have low and high, or choices, or probe"
    for ending, reason in _REASONS.items():
        if path == ("schema",) if ending == () else path[-len(ending) :] == ending:
            return f"{key} is missing: {reason}"
    return f"{key} is missing"


def _not_among(path: tuple[str, ...], expected: str, given: object) -> str:
    allowed = expected.replace(" or ", ", ").replace("'", "").split(", ")
    rule = f"must be {allowed[0]}" if len(allowed) == 1 else f"must be one of {', '.join(allowed)}"
    guess = did_you_mean(given, allowed) if isinstance(given, str) else ""
    return f"{'.'.join(path)}: {rule}, not {show(given)}{guess}"


def _numbers(context: Mapping[str, Any]) -> dict[str, object]:
    return {
        name: f"{value:g}" if isinstance(value, float) else value for name, value in context.items() if name != "error"
    }
