"""Conditions (`when`): the values of other hyperparameters with which a hyperparameter exists. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from probe.limits import MAX_CHOICES
from probe.recipe.values import ParamValue, check_number, check_param_value, is_power_of_two, same_value, show
from probe.units import format_value


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """A range of numbers from `min` to `max`, both included; None if there is no bound on that side."""

    min: int | float | None = None
    max: int | float | None = None


Condition = ParamValue | tuple[ParamValue, ...] | Bounds
"""A value, several allowed values, or bounds of a number."""

_FORMS = "a value, a list of values, or a table of min and max, like { min = 2 }"


def read_condition(plain: Any) -> Condition:
    """Parse a condition. Raises ValueError if `plain` is not one."""
    if isinstance(plain, Bounds):
        return plain
    if isinstance(plain, Mapping):
        return _read_bounds(plain)
    if isinstance(plain, (list, tuple)):
        if not plain:
            raise ValueError(f"must be {_FORMS}, not an empty list")
        if len(plain) > MAX_CHOICES:
            raise ValueError(f"must have at most {MAX_CHOICES:,} values, not {len(plain):,}")
        values: list[ParamValue] = []
        for value in plain:
            check_param_value(value)
            if any(same_value(value, earlier) for earlier in values):
                raise ValueError(f"contains {show(value)} twice")
            values.append(value)
        return tuple(values)
    if not isinstance(plain, (bool, int, float, str)):
        raise ValueError(f"must be {_FORMS}, not {show(plain)}")
    check_param_value(plain)
    return plain


def _read_bounds(plain: Mapping[str, Any]) -> Bounds:
    for key, value in plain.items():
        if key not in ("min", "max"):
            raise ValueError(f"must be {_FORMS}, not a table with the key {show(key)}")
        try:
            check_number(value)
        except ValueError as error:
            raise ValueError(f"{key} {error}") from None
    found = Bounds(**plain)
    if found.min is None and found.max is None:
        raise ValueError(f"must be {_FORMS}, not an empty table")
    if found.min is not None and found.max is not None and found.min > found.max:
        raise ValueError(f"min must not be above max, not {show(found.min)} and {show(found.max)}")
    return found


def plain_condition(condition: Condition) -> Any:
    """The inverse of `read_condition`."""
    if isinstance(condition, Bounds):
        return {key: value for key, value in (("min", condition.min), ("max", condition.max)) if value is not None}
    return list(condition) if isinstance(condition, tuple) else condition


def listed_values(condition: Condition) -> tuple[ParamValue, ...]:
    """The values that the condition lists; empty for bounds."""
    if isinstance(condition, Bounds):
        return ()
    return condition if isinstance(condition, tuple) else (condition,)


def holds(condition: Condition, value: ParamValue) -> bool:
    """Whether the value meets the condition. Text and booleans never meet bounds."""
    if not isinstance(condition, Bounds):
        return any(same_value(value, allowed) for allowed in listed_values(condition))
    if isinstance(value, (bool, str)):
        return False
    return (condition.min is None or value >= condition.min) and (condition.max is None or value <= condition.max)


def all_hold(when: Mapping[str, Condition] | None, params: Mapping[str, ParamValue]) -> bool:
    """Whether the configuration `params` meets every condition. A missing hyperparameter meets no condition."""
    return all(name in params and holds(condition, params[name]) for name, condition in (when or {}).items())


def holds_in_range(
    conditions: Sequence[Condition], *, low: float, high: float, whole: bool = False, pow2: bool = False
) -> bool:
    """Whether a number from `low` to `high` meets all conditions; `whole` and `pow2` restrict the numbers."""
    listed = [values for values in map(listed_values, conditions) if values]
    if listed:
        return any(
            not isinstance(value, (bool, str))
            and low <= value <= high
            and (not whole or value == int(value))
            and (not pow2 or is_power_of_two(value))
            and all(holds(condition, value) for condition in conditions)
            for value in listed[0]
        )
    bounds = [condition for condition in conditions if isinstance(condition, Bounds)]
    least = max([low, *(bound.min for bound in bounds if bound.min is not None)])
    most = min([high, *(bound.max for bound in bounds if bound.max is not None)])
    if pow2:
        least = 2 ** math.ceil(math.log2(least))
    elif whole:
        least = math.ceil(least)
    return least <= most


def condition_words(condition: Condition) -> str:
    """The condition as text: `sgd or nesterov`, `at least 2`, `from 0.1 to 0.5`."""
    if not isinstance(condition, Bounds):
        return " or ".join(map(format_value, listed_values(condition)))
    if condition.max is None:
        return f"at least {show(condition.min)}"
    return (
        f"at most {show(condition.max)}"
        if condition.min is None
        else f"from {show(condition.min)} to {show(condition.max)}"
    )
