"""The kinds of value a recipe is made of, and the limits that the trainer's names put on theirs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

ParamValue = bool | int | float | str
"""One value of a hyperparameter."""


def show(value: object) -> str:
    """A value as the recipe's author wrote it, shortened: `"adam"`, `true`, `[1, 2]`."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_number(value: object) -> object:
    """The value itself. Raises ValueError for what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"must be a finite number, not {show(value)}")
    return value


def check_param_value(value: object) -> object:
    """The value itself. Raises ValueError for one that no hyperparameter can have: a list, a date, infinity."""
    if not isinstance(value, (bool, int, float, str)):
        raise ValueError(f"must be text, a number, true or false, not {show(value)}")
    return value if isinstance(value, (bool, str)) else check_number(value)


def same_value(one: ParamValue, other: ParamValue) -> bool:
    """Equal, and both or neither of them true/false: 1 is 1.0, but not true."""
    return (
        one == other
        and isinstance(one, bool) == isinstance(other, bool)
        and isinstance(one, str) == isinstance(other, str)
    )


def is_power_of_two(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1 and value & (value - 1) == 0


def nearest_powers_of_two(value: float) -> str:
    """`4 or 8` for 6."""
    lower = 2 ** max(0, math.floor(math.log2(value))) if value >= 1 else 1
    return f"{lower} or {2 * lower}"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


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
    "lr_schedule": ("the name of a schedule", lambda value: isinstance(value, str)),
}


def broken_rule(name: str, value: ParamValue) -> str | None:
    """What a trainer's hyperparameter `name` must be, where `value` is not; None for a good value and any other name."""
    rule, holds = _RULES.get(name, ("", lambda _: True))
    return None if holds(value) else rule
