"""Ranges that are searched in steps. In decimals as they are written, so that 0.1 + 2 * 0.1 is 0.3. Pure."""

from __future__ import annotations

from fractions import Fraction

from probe.recipe.values import show


def num_steps(low: float, high: float, step: float) -> int:
    """How many steps lead from `low` to `high`, the last one perhaps past it by less than a step."""
    return -((_exact(low) - _exact(high)) // _exact(step))


def value_after(low: float, step: float, count: int) -> float:
    """`low + count * step`, without rounding errors of its own."""
    return float(_exact(low) + count * _exact(step))


def is_step(value: float, low: float, step: float) -> bool:
    """Whether a whole number of steps leads from `low` to `value`."""
    return (_exact(value) - _exact(low)) % _exact(step) == 0


def check_step(low: float, high: float, step: float) -> None:
    """Raise ValueError unless a whole number of steps leads from `low` to `high`."""
    if step <= 0:
        raise ValueError(f"step must be above 0, not {show(step)}")
    if is_step(high, low, step):
        return
    count = num_steps(low, high, step)
    near = [value_after(low, step, number) for number in (count - 1, count) if number]
    raise ValueError(
        f"high must be low plus a whole number of steps of {show(step)}, not {show(high)}; near it "
        f"{'lies' if len(near) == 1 else 'lie'} {' and '.join(f'{value:g}' for value in near)}"
    )


def _exact(number: float) -> Fraction:
    return Fraction(str(number))
