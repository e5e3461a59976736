"""Values of hyperparameters: their types, the steps of a range, and the limits of the trainer's own hyperparameters. Pure."""

from __future__ import annotations

import json
import math
from fractions import Fraction

from probe.limits import (
    BOOLEAN,
    LARGEST,
    MAX_EPOCHS,
    MAX_INTEGER,
    MAX_SAMPLES,
    MAX_TEXT,
    PROBABILITY,
    SMALLEST,
    Name,
    Real,
    Rule,
    Rules,
    Whole,
    is_number,
    is_text,
)

ParamValue = bool | int | float | str
"""The value of one hyperparameter."""


def show(value: object) -> str:
    """The value as TOML, at most 60 characters long: `"adam"`, `true`, `[1, 2]`."""
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return f"an integer of {value.bit_length()} bits"  # Python does not convert long ones to text
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_number(value: object) -> object:
    """Return `value`. Raises ValueError if it is not a finite number of usual size."""
    if is_number(value):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"must be an integer of 64 bits, not {show(value)}")
    if isinstance(value, float) and math.isfinite(value):
        raise ValueError(f"must be 0 or from {SMALLEST:g} to {LARGEST:g} in size, not {value:g}")
    raise ValueError(f"must be a finite number, not {show(value)}")


def check_param_value(value: object) -> object:
    """Return `value`. Raises ValueError if no hyperparameter can have it: a list, a date, infinity."""
    if not isinstance(value, (bool, int, float, str)):
        raise ValueError(f"must be text, a number, true or false, not {show(value)}")
    if isinstance(value, str) and not is_text(value):
        raise ValueError(f"must be text of at most {MAX_TEXT:,} Unicode characters, not {value[:40]!a}")
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


TRAINER: Rules = {
    "lr": Real(0, above=True),
    "optimizer": Name("an optimizer"),
    "momentum": PROBABILITY,
    "weight_decay": Real(0),
    "l1": Real(0),
    "l2": Real(0),
    "decoupled": BOOLEAN,
    "batch_size": Whole(1, MAX_SAMPLES),
    "epochs": Whole(1, MAX_EPOCHS),
    "gradient_accumulation": Whole(1, MAX_SAMPLES),
    "activation_checkpointing": BOOLEAN,
    "channels_last": BOOLEAN,
    "compile": BOOLEAN,
    "fused": BOOLEAN,
    "max_grad_norm": Real(0),
    "precision": Name("a precision"),
    "lr_schedule": Name("a learning rate schedule"),
}
"""The trainer's own hyperparameters, and the values that they can have."""


def broken_rule(name: str, value: ParamValue) -> Rule | None:
    """The rule of the trainer's hyperparameter `name`, if it does not allow `value`; otherwise None."""
    rule = TRAINER.get(name)
    return None if rule is None or rule.allows(value) else rule
