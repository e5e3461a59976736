"""Lists the distinct configurations of a space. Pure."""

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
"""Number of configurations that are listed at most."""


def configurations(space: Space) -> Iterator[dict[str, ParamValue]]:
    """Iterate over the configurations of a space, each once. Floats are rounded as for trials, so every space is finite."""
    return (constants_last(space, params) for params in _expand(space.dimensions, dict(space.constants)))


def listed_configurations(space: Space) -> list[dict[str, ParamValue]] | None:
    """The configurations of a space; None if there are more than MAX_LISTED."""
    found = list(islice(configurations(space), MAX_LISTED + 1))
    return found if len(found) <= MAX_LISTED else None


def num_configurations(space: Space) -> int | None:
    """Number of configurations of a space; None if there are more than MAX_LISTED."""
    found = listed_configurations(space)
    return None if found is None else len(found)


def with_fixed(space: Space, given: Params) -> Space:
    """The subspace in which hyperparameters have given values. These may be constants, and may lie outside their range."""
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
    """The numbers from `low` to `high` with SIGNIFICANT_DIGITS digits, those of large magnitude first."""
    if high > 0:
        yield from _magnitudes(max(low, 0.0), high)
    if low < 0:
        yield from (-magnitude for magnitude in _magnitudes(max(-high, 0.0), -low))
    if low <= 0 <= high:
        yield 0.0


def _magnitudes(low: float, high: float) -> Iterator[float]:
    """The same for 0 <= low <= high, without 0, in descending order."""
    lowest = round_significant(low)
    digits, power = f"{high:.{SIGNIFICANT_DIGITS - 1}e}".split("e")
    mantissa, exponent = int(digits.replace(".", "")), int(power) - SIGNIFICANT_DIGITS + 1
    while (number := float(f"{mantissa}e{exponent}")) >= lowest and number > 0:
        yield number
        mantissa -= 1
        if mantissa < 10 ** (SIGNIFICANT_DIGITS - 1):
            mantissa, exponent = 10**SIGNIFICANT_DIGITS - 1, exponent - 1
