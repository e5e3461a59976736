"""Texts that could be more than text where they are shown, and records with such texts in every free field."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints
from unicodedata import category

RecordType = TypeVar("RecordType")

TERMINAL_TEXTS = {
    "color": "\x1b[31mred\x1b[0m",
    "cursor": "\x1b[2J\x1b[1;1H",
    "C1 sequence": "\x9b2J",
    "window title": "\x1b]0;owned\x07",
    "hyperlink": "\x1b]8;;https://example.org\x1b\\here\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;cm0gLXJm\x07",
    "device request": "\x1b[6n\x1bP$q\x1b\\",
    "carriage return": "error\rfine ",
    "backspace": "no\x08\x08ok",
    "bell, null, delete": "\x07\x00\x7f",
    "right-to-left override": "\u202egpj.exe",
    "isolates": "\u2066a\u2069\u2067b\u2069",
    "direction marks": "\u200ea\u200f\u061c",
    "line separators": "a\u2028b\u2029c\x85d\x0be\x0cf",
    "lone surrogate": "a\udcffb\ud800",
    "zero width": "l\u200br\u2060\ufeff\u00ad",
    "tags": "a\U000e0061\U000e007f",
    "lines": "\n\nError: not ours\n",
    "tabs": "\ta\tb",
}
MARKDOWN_TEXTS = {
    "table": "a|b\\|c|",
    "code": "`a``b",
    "emphasis": "**a** _b_ ~~c~~ *",
    "heading": "# a",
    "setext heading": "a\n===",
    "rule": "---",
    "bullet": "- a",
    "plus": "+ a",
    "number": "1. a",
    "quote": "> a",
    "fence": "```\na",
    "script": "<script>alert(1)</script>",
    "image of HTML": '<img src=x onerror="alert(1)">',
    "comment": "<!-- a",
    "entities": "&lt;b&gt; &#x1b;",
    "link": "](javascript:alert(1)) [a](javascript:alert(1))",
    "reference": "[a]: javascript:alert(1)",
    "autolink": "<javascript:alert(1)> https://example.org www.example.org a@example.org",
    "footnote": "[^1] ![a](b)",
    "backslash": "C:\\path\\",
}
OTHER_TEXTS = {
    "mathtext": "$\\frac{a$ $x^2$",
    "rich markup": "[red]a[/red] [/] :smile:",
    "format": "{0} {} %s %(a)s {a!r}",
    "formula": "=cmd|' /C calc'!A0",
    "underscore": "_hidden",
    "long word": "w" * 500,
    "spaces": "   ",
}
READABLE_TEXTS = ("Größe µ", "模型", "🙂 👩‍👩‍👧", "snake_case", "a|b", "C:\\data\\x", "<unk>", "price ($)", "نمونه‌ها")
"""Texts of ordinary users, which are shown as they are."""

FOREIGN_TEXTS = {**TERMINAL_TEXTS, **MARKDOWN_TEXTS, **OTHER_TEXTS}


def unseen(text: str) -> set[str]:
    """The characters of `text` that a terminal obeys or does not show: all that Unicode calls control or format characters,
    surrogates and separators of lines, except the joiners in emoji and scripts and the few format characters that are drawn."""
    kept = {"\u200c", "\u200d"} | {
        one for one in text if "\u0600" <= one <= "\u0605" or one in "\u06dd\u070f\u0890\u0891\u08e2"
    }
    kept |= {one for one in text if "\U000110bd" <= one <= "\U0001d17a"}
    return {one for one in text if category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - kept


def with_texts(record: RecordType, change: Callable[[str], str]) -> RecordType:
    """`record` with each of its free texts changed, keys of mappings included; words of a fixed list stay."""
    return _changed(record, type(record), change)  # type: ignore[no-any-return]


def _changed(value: Any, kind: Any, change: Callable[[str], str]) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = get_type_hints(type(value))
        fields = [field.name for field in dataclasses.fields(value) if field.init]
        return dataclasses.replace(
            value, **{name: _changed(getattr(value, name), hints[name], change) for name in fields}
        )
    if isinstance(value, str):
        return change(value) if str in _members(kind) else value
    inner = [one for member in _members(kind) for one in get_args(member)]
    if isinstance(value, tuple):
        return tuple(_changed(one, _union(inner), change) for one in value)
    if isinstance(value, Mapping):
        return {_changed(key, str, change): _changed(one, _union(inner[1:]), change) for key, one in value.items()}
    return value


def _members(kind: Any) -> list[Any]:
    """The members of a union that are no literals; the kind itself if it is none."""
    if get_origin(kind) is Literal:
        return []
    is_collection = isinstance(get_origin(kind), type) and issubclass(get_origin(kind), (tuple, Mapping))
    if is_collection or not get_args(kind):
        return [kind]
    return [member for one in get_args(kind) for member in _members(one)]


def _union(kinds: list[Any]) -> Any:
    from typing import Union

    return Union[tuple(kinds)]  # noqa: UP007 - made of a list
