"""Writes the pages that are generated from the code: docs/recipe.md, docs/json.md and docs/commands.md.

    python docs/generate.py            # write them
    python docs/generate.py --check    # exit with 1 if a page is out of date

Descriptions are the docstrings below the fields of the recipe's models and of the result records.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

FOLDER = Path(__file__).parent
_MADE = "<!-- Made by docs/generate.py: do not edit. -->\n\n"


def field_docs(kind: type) -> dict[str, str]:
    """The docstring below each field of a class, base classes included; on one line each."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.split(".")[0] != "probe":
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for statement, following in zip(body.body, [*body.body[1:], None], strict=True):
            if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
                continue
            text = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                text = " ".join(str(following.value.value).split())
            found[statement.target.id] = text
    return found


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _summary(kind: type) -> str:
    return " ".join((inspect.cleandoc(kind.__doc__ or "")).split())


# The recipe.


def recipe_page() -> str:
    """docs/recipe.md: every key of a recipe with its type, default and description."""
    from probe.recipe import refine, schema, sections, space

    tables: dict[str, type[BaseModel]] = {
        "The top of the file": schema.Recipe,
        "[task]": schema.TaskSection,
        "task.objective": schema.Objective,
        "task.validation": sections.Validation,
        "task.data_options": sections.DataOptions,
        "[space]: a range": space.Range,
        "[space]: choices": space.Choices,
        "[space]: a probed batch size": space.ProbedBatch,
        "[space]: a probed learning rate": space.ProbedLr,
        "[search]": schema.SearchSection,
        "search.fidelity": sections.Fidelity,
        "search.constraints": sections.Constraints,
        "search.refine": refine.Refine,
        "[budget]": schema.BudgetSection,
        "[batch]": schema.BatchOptions,
        "[lr]": schema.LrOptions,
    }
    parts = [
        _MADE,
        "# Every key of a recipe\n\n",
        "A recipe is a TOML file. [The tutorial](tutorial.md) explains one line by line, and ",
        "[Hyperparameters](hyperparameters.md) describes what `[space]` may contain.\n",
    ]
    for title, model in tables.items():
        parts.append(
            f"\n## {title}\n\n{_summary(model)}\n\n| key | type | default | description |\n|---|---|---|---|\n"
        )
        docs = field_docs(model)
        for name, field in model.model_fields.items():
            default = _recipe_default(field.default)
            parts.append(
                f"| `{field.alias or name}` | {_cell(_recipe_type(field.annotation))} | {default} | {_cell(docs[name])} |\n"
            )
    return "".join(parts)


def _recipe_default(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if default is None or default == () or isinstance(default, BaseModel):
        return ""
    return f"`{_toml(default)}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _recipe_type(kind: Any) -> str:
    origin = get_origin(kind)
    if origin is typing.Annotated:
        return _recipe_type(get_args(kind)[0])
    if origin in (Union, types.UnionType):
        names = [_recipe_type(part) for part in get_args(kind) if part is not type(None)]
        return ", ".join(dict.fromkeys(name for name in names if name != "number" or "integer" not in names))
    if origin is Literal:
        return ", ".join(f"`{_toml(value)}`" for value in get_args(kind))
    if origin is tuple:
        return "list"
    if origin in (dict, Mapping):
        return "table"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "table"
    return {str: "text", int: "integer", float: "number", bool: "`true`, `false`"}.get(kind, "value")


# Results.


_COMMON = {
    "schema": "Version of the format.",
    "kind": "Kind of result.",
    "meta": "Where, when and with which versions the result was measured.",
}


def json_page() -> str:
    """docs/json.md: every key of every kind of result, from the records."""
    from probe.report.kinds import KINDS

    kinds: dict[str, type] = {name: kind.record for name, kind in KINDS.items()}
    parts = [
        _MADE,
        "# Results as JSON\n\n",
        "`result.json` in the folder of a run and `--json FILE` hold one record. `kind` says which one; `schema` is the ",
        "version of the format. Numbers are finite; a value that is not known is `null`. Names end with their unit ",
        "(`_bytes`, `_seconds`); counts start with `num_`.\n",
    ]
    waiting: list[type] = list(kinds.values())
    done: dict[type, None] = {}
    while waiting:
        kind = waiting.pop(0)
        if kind in done:
            continue
        done[kind] = None
        waiting += [part for part in _records_of(kind) if part not in done]
    names = {kind: name for name, kind in kinds.items()}
    for kind in done:
        title = f'{kind.__name__} (`kind = "{names[kind]}"`)' if kind in names else kind.__name__
        anchor = f'\n<a id="{kind.__name__.lower()}"></a>\n\n'
        parts.append(f"{anchor}## {title}\n\n{_summary(kind)}\n\n| key | type | description |\n|---|---|---|\n")
        docs, hints = field_docs(kind), typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            text = docs[field.name] or _COMMON.get(field.name, "")
            parts.append(f"| `{field.name}` | {_cell(_json_type(hints[field.name]))} | {_cell(text)} |\n")
    return "".join(parts)


def _records_of(kind: type) -> Iterator[type]:
    """The records that a record contains."""

    def inside(hint: Any) -> Iterator[type]:
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield hint
        for part in get_args(hint):
            yield from inside(part)

    for hint in typing.get_type_hints(kind).values():
        yield from inside(hint)


def _json_type(kind: Any) -> str:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_json_type(part) for part in get_args(kind)))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if origin is tuple:
        return f"list of {_json_type(get_args(kind)[0])}"
    if origin is not None and issubclass(origin, Mapping):
        return f"object of {_json_type(get_args(kind)[1])}"
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    names = {str: "text", int: "integer", float: "number", bool: "boolean", type(None): "`null`"}
    return names.get(kind, "value")


# Commands.


def commands_page() -> str:
    """docs/commands.md: the help of every command."""
    from probe.cli.main import cli

    parts = [
        _MADE,
        "# Commands\n\n",
        "What `probe COMMAND --help` prints.\n",
    ]
    width: dict[str, Any] = {"max_content_width": 100, "terminal_width": 100}
    with click.Context(cli, info_name="probe", **{**cli.context_settings, **width}) as context:
        for name in cli.list_commands(context):
            command = cli.get_command(context, name)
            assert command is not None
            inner = click.Context(command, info_name=name, parent=context, **width)
            text = re.sub(r"[ \t]+$", "", click.unstyle(command.get_help(inner)), flags=re.MULTILINE)
            parts.append(f"\n## probe {name}\n\n```text\n{text}\n```\n")
    return "".join(parts)


PAGES = {"recipe.md": recipe_page, "json.md": json_page, "commands.md": commands_page}


def main() -> None:
    old = []
    for name, make in PAGES.items():
        page, text = FOLDER / name, make()
        if page.exists() and page.read_text(encoding="utf-8") == text:
            continue
        old.append(name)
        if "--check" not in sys.argv:
            page.write_text(text, encoding="utf-8")
    if "--check" in sys.argv and old:
        sys.exit(f"Out of date: {', '.join(old)}. Run python docs/generate.py.")


if __name__ == "__main__":
    main()
