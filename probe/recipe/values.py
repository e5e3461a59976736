"""Values of hyperparameters: their types, the steps of a range, and the limits of the trainer's own hyperparameters. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from fractions import Fraction

ParamValue = bool | int | float | str
"""The value of one hyperparameter."""


def show(value: object) -> str:
    """The value as TOML, at most 60 characters long: `"adam"`, `true`, `[1, 2]`."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_number(value: object) -> object:
    """Return `value`. Raises ValueError if it is not a finite number."""
    if not _is_number(value):
        raise ValueError(f"must be a finite number, not {show(value)}")
    return value


def check_param_value(value: object) -> object:
    """Return `value`. Raises ValueError if no hyperparameter can have it: a list, a date, infinity."""
    if not isinstance(value, (bool, int, float, str)):
        raise ValueError(f"must be text, a number, true or false, not {show(value)}")
    return value if isinstance(value, (bool, str)) else check_number(value)


def same_value(one: ParamValue, other: ParamValue) -> bool:
    """Whether two values are equal; 1 equals 1.0, but not true."""
    return (
        one == other
        and isinstance(one, bool) == isinstance(other, bool)
        and isinstance(one, str) == isinstance(other, str)
    )


def is_power_of_two(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1 and value & (value - 1) == 0


def nearest_powers_of_two(value: float) -> str:
    """The powers of two on both sides, as text: `4 or 8` for 6."""
    lower = 2 ** max(0, math.floor(math.log2(value))) if value >= 1 else 1
    return f"{lower} or {2 * lower}"


def num_steps(low: float, high: float, step: float) -> int:
    """The number of steps from `low` to `high`, rounded up."""
    return -((_exact(low) - _exact(high)) // _exact(step))


def value_after(low: float, step: float, count: int) -> float:
    """`low + count * step`, computed exactly and rounded once."""
    return float(_exact(low) + count * _exact(step))


def is_step(value: float, low: float, step: float) -> bool:
    """Whether `value` is `low` plus a whole number of steps."""
    return (_exact(value) - _exact(low)) % _exact(step) == 0


def check_step(low: float, high: float, step: float) -> None:
    """Raise ValueError unless `high` is `low` plus a whole number of steps."""
    if step <= 0:
        raise ValueError(f"step must be above 0, not {show(step)}")
    if is_step(high, low, step):
        return
    count = num_steps(low, high, step)
    near = [value_after(low, step, number) for number in (count - 1, count) if number]
    raise ValueError(
        f"high must be low plus a whole number of steps of {show(step)}, not {show(high)}; the nearest "
        f"{'is' if len(near) == 1 else 'are'} {' and '.join(f'{value:g}' for value in near)}"
    )


def _exact(number: float) -> Fraction:
    """The number as it is written in decimals, so that 0.1 + 2 * 0.1 is 0.3."""
    return Fraction(str(number))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


_RULES: dict[str, tuple[str, Callable[..., bool]]] = {
    "lr": ("a number above 0", lambda value: _is_number(value) and value > 0),
    "optimizer": ("the name of an optimizer", lambda value: isinstance(value, str)),
    "momentum": ("a number from 0 to below 1", lambda value: _is_number(value) and 0 <= value < 1),
    "weight_decay": ("a number of at least 0", lambda value: _is_number(value) and value >= 0),
    "l1": ("a number of at least 0", lambda value: _is_number(value) and value >= 0),
    "l2": ("a number of at least 0", lambda value: _is_number(value) and value >= 0),
    "decoupled": ("true or false", lambda value: isinstance(value, bool)),
    "batch_size": ("a whole number of at least 1", lambda value: _is_whole(value) and value >= 1),
    "epochs": ("a whole number of at least 1", lambda value: _is_whole(value) and value >= 1),
    "gradient_accumulation": ("a whole number of at least 1", lambda value: _is_whole(value) and value >= 1),
    "activation_checkpointing": ("true or false", lambda value: isinstance(value, bool)),
    "max_grad_norm": ("a number of at least 0", lambda value: _is_number(value) and value >= 0),
    "precision": ("the name of a precision", lambda value: isinstance(value, str)),
    "lr_schedule": ("the name of a learning rate schedule", lambda value: isinstance(value, str)),
}


def broken_rule(name: str, value: ParamValue) -> str | None:
    """What the trainer's hyperparameter `name` must be, if `value` is not allowed; None if it is allowed."""
    rule, holds = _RULES.get(name, ("", lambda _: True))
    return None if holds(value) else rule
