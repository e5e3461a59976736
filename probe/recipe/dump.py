"""Writing a recipe: Recipe -> TOML text, and a hash of its content. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import tomli_w

from probe.recipe.schema import Recipe


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as TOML, defaults included; loading the text returns an equal recipe."""
    return dump_plain(recipe.to_plain())


def dump_plain(plain: Mapping[str, Any], *, comments: Mapping[str, str] | None = None) -> str:
    """The content of a recipe file as TOML, with `comments` like {"space.lr": "..."} after their keys.

    Tables inside a section are written inline, which keeps the order of [space]: TOML requires separate tables to follow all
    plain values.
    """
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
    return tomli_w.dumps({"x": value}).removeprefix("x = ").removesuffix("\n")


def _key(key: str) -> str:
    return tomli_w.dumps({key: 0}).removesuffix(" = 0\n")
