"""Records to and from plain JSON values, by the annotations of the records.

A record is a frozen dataclass of strings, numbers, booleans, None, tuples, mappings with string keys, unions of these, and
other records. Reading ignores unknown keys (written by a newer probe) and fills missing ones with their defaults (written by
an older probe). pydantic is imported on first use.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

RecordType = TypeVar("RecordType")
_MAX_SHOWN = 80
"""Characters of a wrong value that an error message shows."""


def to_plain(record: Any) -> dict[str, Any]:
    """Convert a record to dicts, lists, strings, numbers, booleans and None.

    Raises ValueError if a number is not finite, since JSON has no notation for it, or a value does not have its field's type.
    """
    if not dataclasses.is_dataclass(record) or isinstance(record, type):
        raise TypeError(f"{type(record).__name__} cannot be stored: it is not a record")
    kind = type(record)
    plain = _adapter(kind).dump_python({kind.__name__: record}, mode="json", warnings="error")[kind.__name__]
    try:
        json.dumps(plain, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{kind.__name__} cannot be stored: its numbers must be finite") from error
    return cast(dict[str, Any], plain)


def from_plain(kind: type[RecordType], plain: Any) -> RecordType:
    """Build the record of type `kind` that `to_plain` converted to `plain`.

    Bytes of a command line that are not text (lone surrogates) are read back as `?`. If `plain` does not fit, raises a
    ValueError that starts with the path of the value, like `Curve.points[3].lr`.
    """
    from pydantic import ValidationError

    name = kind.__name__
    text = json.dumps({name: plain}, ensure_ascii=False).encode("utf-8", "replace")
    try:
        return cast(RecordType, _adapter(cast(Any, kind)).validate_json(text)[name])
    except ValidationError as error:
        raise ValueError(_problem(error, {name: plain})) from error


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[dict[str, Any]]:
    """A mapping of one record: its key makes error paths start with the record's name, and it takes the configuration,
    which pydantic does not accept for a dataclass itself."""
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(dict[str, kind], config=ConfigDict(strict=True, allow_inf_nan=False))  # type: ignore[valid-type]


def _problem(error: ValidationError, plain: Any) -> str:
    """The first problem as one line: where, what was expected, what was given."""
    first = error.errors(include_url=False)[0]
    where = _path(first["loc"], plain)
    if first["type"] == "value_error":  # an invariant that the record checks itself
        return f"{where}: {first['ctx']['error']}"
    if first["type"] == "missing":
        return f"{where} is missing"
    shown = repr(first["input"])
    shown = shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."
    return f"{where}: {first['msg']}, not {shown}"


def _path(loc: Sequence[int | str], plain: Any) -> str:
    """`Curve.points[3].lr`, without the names of a union's members, which are no keys of the value."""
    path = ""
    for index, part in enumerate(loc):
        is_key = isinstance(plain, dict) and (part in plain or index == len(loc) - 1)
        is_index = isinstance(plain, list) and isinstance(part, int) and part < len(plain)
        if is_index:
            path += f"[{part}]"
            plain = plain[cast(int, part)]
        elif is_key:
            path += f".{part}" if path else str(part)
            plain = plain.get(part)
    return path
