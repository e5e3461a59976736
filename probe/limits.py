"""Allowed values: rules for hyperparameters and options, and limits of numbers that have no natural limit. Pure.

The limits are far beyond any real use. They refuse a typing error at once that would otherwise fill the memory or never end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from probe.errors import TaskError, unknown_name

LARGEST, SMALLEST = 1e30, 1e-100
"""Limits of the magnitude of a number other than 0. Models compute in float32, which ends at 3.4e38."""
MAX_INTEGER = 2**63 - 1
"""Integers of TOML, SQLite and PyTorch have 64 bits."""
MAX_RANGE_END = 2**53
"""Above it, doubles, in which samplers compute, skip whole numbers."""
MAX_TEXT = 1000
"""Characters of a text in a recipe."""
MAX_NAME = 100
"""Characters of the name of a recipe or of a hyperparameter."""
MAX_DIMENSIONS = 256
MAX_CHOICES = 1000
MAX_STARTS = 1000
"""Configurations to try first."""
MAX_GRID = 10_000
"""Configurations of a grid, and values of one hyperparameter in it."""
MAX_TRIALS = 10**9
MAX_EPOCHS = 10**6
"""Epochs of one training."""
MAX_BUDGET_EPOCHS = 1e12
MAX_SAMPLES = 10**9
"""Samples of a data set or a batch."""
MAX_STEPS = 10**9
"""Steps of a training."""
MAX_MEASURED_STEPS = 10**6
"""Steps of a range test or of a confirmation."""
MAX_REPEATS = 1000
MAX_FOLDS = 1000
MAX_IMAGE_SIZE = 16_384
MAX_WORKERS = 1024

_NO_TEXT = re.compile("[\ud800-\udfff]")
_NO_LINE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Rule:
    """The values that a hyperparameter can have; as text, what is allowed."""

    def allows(self, value: object) -> bool:
        raise NotImplementedError

    def check(self, name: str, value: object) -> None:
        """Raise TaskError unless the hyperparameter `name` can have this value."""
        if not self.allows(value):
            raise TaskError(f"{name} must be {self}, not {value!r}.")


@dataclass(frozen=True, slots=True)
class Whole(Rule):
    """Whole numbers from `least` to `most`."""

    least: int
    most: int

    def allows(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.least <= value <= self.most

    def __str__(self) -> str:
        return f"a whole number from {self.least:,} to {self.most:,}"


@dataclass(frozen=True, slots=True)
class Real(Rule):
    """Numbers from `low` to `high`."""

    low: float
    high: float = LARGEST
    above: bool = False
    """Whether `low` itself is not allowed."""
    below: bool = False
    """Whether `high` itself is not allowed."""

    def allows(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not self.low <= value <= self.high:
            return False
        return not (self.above and value == self.low) and not (self.below and value == self.high)

    def __str__(self) -> str:
        if self.high == LARGEST:
            return f"a number {'above' if self.above else 'of at least'} {self.low:g}"
        if self.above:
            return f"a number above {self.low:g} and {'below' if self.below else 'at most'} {self.high:g}"
        return f"a number from {self.low:g} to {'below ' if self.below else ''}{self.high:g}"


@dataclass(frozen=True, slots=True)
class OneOf(Rule):
    """Some values of one type."""

    values: tuple[bool, ...] | tuple[int, ...] | tuple[str, ...]

    def allows(self, value: object) -> bool:
        return any(value == known and type(value) is type(known) for known in self.values)

    def check(self, name: str, value: object) -> None:
        known = [known for known in self.values if isinstance(known, str)]
        if isinstance(value, str) and known and value not in known:
            message, hint = unknown_name(name, value, known)
            raise TaskError(message, hint=hint)
        Rule.check(self, name, value)

    def __str__(self) -> str:
        *others, last = (str(value).lower() if isinstance(value, bool) else str(value) for value in self.values)
        return f"{', '.join(others)} or {last}"


@dataclass(frozen=True, slots=True)
class SomeOf(Rule):
    """Different names joined by `+`, or the name `none`."""

    names: tuple[str, ...]
    none: str = "none"

    def parts(self, value: object) -> tuple[str, ...]:
        """`shift+cutout` -> (shift, cutout); `none` -> ()."""
        return () if value == self.none else tuple(part.strip() for part in str(value).split("+"))

    def allows(self, value: object) -> bool:
        parts = self.parts(value)
        return isinstance(value, str) and len(parts) == len(set(parts)) and set(parts) <= set(self.names)

    def check(self, name: str, value: object) -> None:
        for place, part in enumerate(parts := self.parts(value)):
            if part not in self.names:
                message, hint = unknown_name(name, part, (self.none, *self.names))
                raise TaskError(message, hint=f"{hint} Join several like {'+'.join(self.names[:2])}.")
            if part in parts[:place]:
                raise TaskError(f"{name} '{value}' names {part} twice.")
        Rule.check(self, name, value)

    def __str__(self) -> str:
        return f"{self.none}, or some of {', '.join(self.names)} joined by +"


@dataclass(frozen=True, slots=True)
class Name(Rule):
    """A text that names one of `kind`."""

    kind: str

    def allows(self, value: object) -> bool:
        return isinstance(value, str)

    def __str__(self) -> str:
        return f"the name of {self.kind}"


Rules = Mapping[str, Rule]
"""Hyperparameter -> its rule."""
BOOLEAN = OneOf((True, False))
PROBABILITY = Real(0, 1, below=True)


def check_values(rules: Rules, **given: Any) -> None:
    """Raise TaskError for the first value that its rule does not allow."""
    for name, value in given.items():
        rules[name].check(name, value)


def is_number(value: object) -> bool:
    """Whether `value` is a number that a recipe may contain."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= MAX_INTEGER
    return isinstance(value, float) and (value == 0 or SMALLEST <= abs(value) <= LARGEST)


def is_text(value: str, *, one_line: bool = False) -> bool:
    """Whether a recipe may contain this text; with `one_line`, as a name or a path, without control characters."""
    return len(value) <= MAX_TEXT and (_NO_LINE if one_line else _NO_TEXT).search(value) is None
