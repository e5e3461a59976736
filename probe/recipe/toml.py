"""TOML text -> plain values, within limits that no recipe reaches. Pure.

The parser of the standard library does not limit the length of integers or the nesting of lists; Python then fails elsewhere.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from probe.limits import MAX_INTEGER
from probe.recipe.values import show

MAX_BYTES = 2**18
"""Size of a recipe."""
MAX_NESTING = 16
"""Tables and lists inside each other."""
_LONG_KEY = re.compile(r"""(?:\.[ \t]*[\w"'-]+[ \t]*){100}""")
"""A key of many parts, like a.b.c, for which the parser takes a time that grows with their square."""


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML. Raises TOMLDecodeError, and another ValueError, with a sentence, for content that is not supported."""
    if _LONG_KEY.search(text):
        raise ValueError(f"tables and lists are nested in more than {MAX_NESTING} levels")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise ValueError(f"tables and lists are nested in more than {MAX_NESTING} levels") from None
    except ValueError as error:  # Python converts integers of at most 4,300 digits
        raise ValueError("an integer has more than 64 bits" if "digits" in str(error) else str(error)) from None
    check_plain(content)
    return content


def check_plain(content: Mapping[str, Any]) -> None:
    """Raise ValueError for an integer of more than 64 bits, and for deeply nested tables and lists."""
    waiting: list[tuple[str, Any, int]] = [("", content, 0)]
    while waiting:
        key, value, depth = waiting.pop()
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise ValueError(f"{key}: must be an integer of 64 bits, not {show(value)}")
        if not isinstance(value, (Mapping, list, tuple)):
            continue
        if depth > MAX_NESTING:
            raise ValueError(f"{key[:40]}: tables and lists are nested in more than {MAX_NESTING} levels")
        if isinstance(value, Mapping):
            waiting += [(f"{key}.{name}" if key else str(name), item, depth + 1) for name, item in value.items()]
        else:
            waiting += [(f"{key}[{place}]", item, depth + 1) for place, item in enumerate(value, start=1)]
