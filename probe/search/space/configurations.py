"""The distinct configurations of a space, one after the other. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from probe.search.records.search import Dimension, ParamValue
from probe.search.space.space import (
    SIGNIFICANT_DIGITS,
    Params,
    Space,
    axis_of,
    constants_last,
    is_active,
    range_of,
    round_significant,
    value_at,
)

MAX_LISTED = 10_000
"""Larger spaces are never listed as a whole."""


def configurations(space: Space) -> Iterator[dict[str, ParamValue]]:
    """Each configuration of the space once, lazily. Floats have the digits that are ever tried, so no space is infinite."""
    return (constants_last(space, params) for params in _expand(space.dimensions, dict(space.constants)))


def listed_configurations(space: Space) -> list[dict[str, ParamValue]] | None:
    """All of them; None for more than MAX_LISTED."""
    found = list(islice(configurations(space), MAX_LISTED + 1))
    return found if len(found) <= MAX_LISTED else None


def num_configurations(space: Space) -> int | None:
    """How many there are; None for more than MAX_LISTED."""
    found = listed_configurations(space)
    return None if found is None else len(found)


def with_fixed(space: Space, given: Params) -> Space:
    """The part of the space where the hyperparameters in `given` have these values, constants and values outside of a range
    included."""
    dimensions = (
        replace(dimension, kind="choices", choices=(given[dimension.name],), per=None, step=None)
        if dimension.name in given
        else dimension
        for dimension in space.dimensions
    )
    constants = {name: given.get(name, value) for name, value in space.constants.items()}
    return Space(dimensions=tuple(dimensions), constants=constants)


def _expand(dimensions: Sequence[Dimension], params: Mapping[str, ParamValue]) -> Iterator[dict[str, ParamValue]]:
    if not dimensions:
        yield dict(params)
        return
    first, rest = dimensions[0], dimensions[1:]
    if not is_active(first, params):
        yield from _expand(rest, params)
        return
    for value in _values(first, params):
        yield from _expand(rest, {**params, first.name: value})


def _values(dimension: Dimension, params: Params) -> Iterator[ParamValue]:
    axis = axis_of(dimension)
    if axis.kind == "choices":
        yield from axis.choices
    elif axis.kind == "int":
        for position in range(int(axis.low), int(axis.high) + 1):
            yield value_at(dimension, position, params)
    else:
        low, high = range_of(dimension, params)
        for number in _rounded_numbers(low, high):
            yield min(max(number, low), high)


def _rounded_numbers(low: float, high: float) -> Iterator[float]:
    """What the numbers from `low` to `high` are when rounded to SIGNIFICANT_DIGITS, those of large magnitude first."""
    if high > 0:
        yield from _magnitudes(max(low, 0.0), high)
    if low < 0:
        yield from (-magnitude for magnitude in _magnitudes(max(-high, 0.0), -low))
    if low <= 0 <= high:
        yield 0.0


def _magnitudes(low: float, high: float) -> Iterator[float]:
    """From high to low, for 0 <= low <= high; without 0."""
    lowest = round_significant(low)
    digits, power = f"{high:.{SIGNIFICANT_DIGITS - 1}e}".split("e")
    mantissa, exponent = int(digits.replace(".", "")), int(power) - SIGNIFICANT_DIGITS + 1
    while (number := float(f"{mantissa}e{exponent}")) >= lowest and number > 0:
        yield number
        mantissa -= 1
        if mantissa < 10 ** (SIGNIFICANT_DIGITS - 1):
            mantissa, exponent = 10**SIGNIFICANT_DIGITS - 1, exponent - 1
