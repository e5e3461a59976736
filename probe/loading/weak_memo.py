"""A cache of values derived from objects, which lives as long as the objects."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class WeakMemo(Generic[Value]):
    """Keys are objects, compared by identity, and hashable options. A value must not refer to the objects of its key."""

    def __init__(self) -> None:
        self._held: dict[tuple[Hashable, ...], tuple[list[weakref.ref[Any]], Value]] = {}

    def find(self, objects: Sequence[Any], *options: Hashable) -> Value | None:
        """The value for these objects and options; None if there is none yet."""
        refs, value = self._held.get(_key(objects, options), ([], None))
        is_current = value is not None and all(ref() is held for ref, held in zip(refs, objects, strict=True))
        return value if is_current else None

    def get(self, objects: Sequence[Any], *options: Hashable, make: Callable[[], Value]) -> Value:
        """The value for these objects and options, created by `make` if there is none yet.

        Objects without weak references, such as lists, cannot be keys; their value is created every time.
        """
        value = self.find(objects, *options)
        if value is not None:
            return value
        key = _key(objects, options)
        value = make()
        try:
            refs = [weakref.ref(held, lambda _: self._held.pop(key, None)) for held in objects]
        except TypeError:
            return value
        self._held[key] = (refs, value)
        return value


def _key(objects: Sequence[Any], options: tuple[Hashable, ...]) -> tuple[Hashable, ...]:
    return (*(id(held) for held in objects), *options)
