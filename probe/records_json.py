"""Records <-> plain JSON values, by the records' own annotations.

A record is a frozen dataclass of str, int, float, bool, None, tuples, string-keyed mappings, unions of these, and records.
Reading ignores keys that this version does not know (a newer probe wrote them) and takes a field's default where a key is
missing (an older one did).
"""

from __future__ import annotations

import dataclasses
import math
import sys
import types
import typing
from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin

RecordType = TypeVar("RecordType")


def to_plain(value: Any) -> Any:
    """A record, or a value inside one, as dicts, lists, strings, numbers, booleans and None.

    Raises ValueError for a number that is not finite: JSON has no word for it, so records keep such numbers out. Raises
    TypeError for what no record may hold.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        odd_keys = [key for key in value if not isinstance(key, str)]
        if odd_keys:
            raise TypeError(f"the key {odd_keys[0]!r} cannot be stored: keys are strings")
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} cannot be stored: records hold finite numbers only")
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"{type(value).__name__} cannot be stored in a record")


def from_plain(kind: type[RecordType], plain: Any) -> RecordType:
    """The record of type `kind` that `to_plain` made `plain` from.

    Raises ValueError where `plain` does not fit it; the message starts with the path of the value, like `Curve.points[3].lr`.
    """
    return typing.cast(RecordType, _read(kind, plain, kind.__name__))


@cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(kind)


_SCALAR_NAMES = {
    type(None): "null",
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "text",
}


def _read(kind: Any, plain: Any, where: str) -> Any:
    origin = get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _read_record(typing.cast(type[Any], kind), plain, where)
    if origin in (Union, types.UnionType):
        return _read_union(get_args(kind), plain, where)
    if origin is typing.Literal:
        if plain not in get_args(kind):
            raise ValueError(f"{where}: {plain!r} is none of {', '.join(map(repr, get_args(kind)))}")
        return plain
    if origin is tuple:
        if not isinstance(plain, list):
            raise ValueError(f"{where}: a list was expected, not {plain!r}")
        return tuple(_read(get_args(kind)[0], item, f"{where}[{i}]") for i, item in enumerate(plain))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(plain, dict):
            raise ValueError(f"{where}: a table was expected, not {plain!r}")
        return {key: _read(get_args(kind)[1], item, f"{where}.{key}") for key, item in plain.items()}
    return _read_scalar(kind, plain, where)


def _read_record(kind: type[Any], plain: Any, where: str) -> Any:
    if not isinstance(plain, dict):
        raise ValueError(f"{where}: a table was expected, not {plain!r}")
    hints = _hints(typing.cast(Hashable, kind))
    fields = dataclasses.fields(kind)
    missing = [field.name for field in fields if field.name not in plain and _has_no_default(field)]
    if missing:
        raise ValueError(f"{where}: {', '.join(missing)} missing")
    values = {
        field.name: _read(hints[field.name], plain[field.name], f"{where}.{field.name}")
        for field in fields
        if field.name in plain
    }
    try:
        return kind(**values)
    except ValueError as error:  # an invariant of the record itself, which does not know where it stands
        raise ValueError(f"{where}: {error}") from error


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _read_union(options: tuple[Any, ...], plain: Any, where: str) -> Any:
    if plain is None and type(None) in options:
        return None
    problems = []
    for option in options:
        if option is type(None):
            continue
        try:
            return _read(option, plain, where)
        except ValueError as error:
            problems.append(str(error))
    if len(problems) == 1:
        raise ValueError(problems[0])
    expected = " or ".join(_SCALAR_NAMES.get(option, getattr(option, "__name__", str(option))) for option in options)
    raise ValueError(f"{where}: {expected} was expected, not {plain!r}")


def _read_scalar(kind: Any, plain: Any, where: str) -> Any:
    if kind is Any:
        return plain
    if kind is type(None):
        fits = plain is None
    elif kind is float:
        fits = isinstance(plain, (int, float)) and not isinstance(plain, bool) and abs(plain) <= sys.float_info.max
        plain = float(plain) if fits else plain
    elif kind is int:
        fits = isinstance(plain, int) and not isinstance(plain, bool)
    else:
        fits = isinstance(plain, kind)
    if not fits:
        raise ValueError(f"{where}: {_SCALAR_NAMES.get(kind, str(kind))} was expected, not {plain!r}")
    return plain
