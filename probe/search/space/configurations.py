"""Lists the distinct configurations of a space, and those of a grid over it. Pure.

A grid has all choices, all powers of two, and all values of ranges with a step. Other ranges have `steps` values, evenly spaced
on the range's own scale including both ends. The default is GRID_STEPS, or all values of an integer range that has no more. A
conditional hyperparameter multiplies only the configurations in which it exists.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from probe.errors import RecipeError
from probe.limits import MAX_GRID
from probe.search.records.search import Dimension, ParamValue
from probe.search.space.space import (
    SIGNIFICANT_DIGITS,
    Axis,
    Params,
    Space,
    axis_of,
    configuration_key,
    constants_last,
    is_active,
    params_at,
    positions_of,
    range_of,
    round_significant,
    value_at,
)
from probe.units import format_count

MAX_LISTED = MAX_GRID
GRID_STEPS = 5
"""Default number of values of a range. A learning rate from 1e-5 to 1e-1 is tried at every power of ten."""
MAX_COUNTED = 10**15
"""Largest number of configurations whose cost is computed: floats end at 1e308."""


def configurations(space: Space) -> Iterator[dict[str, ParamValue]]:
    """Iterate over the configurations of a space, each once. Floats are rounded as for trials, so every space is finite."""
    return (constants_last(space, params) for params in _expand(space.dimensions, dict(space.constants), _values))


def listed_configurations(space: Space) -> list[dict[str, ParamValue]] | None:
    """The configurations of a space; None if there are more than MAX_LISTED."""
    always = [dimension for dimension in space.dimensions if dimension.when is None and dimension.per is None]
    least = 1
    for dimension in always:  # their product is reached much faster than by a list
        least *= sum(1 for _ in islice(_values(dimension, {}), MAX_LISTED + 1))
        if least > MAX_LISTED:
            return None
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


def _expand(
    dimensions: Sequence[Dimension], params: Params, values_of: Callable[[Dimension, Params], Iterable[ParamValue]]
) -> Iterator[dict[str, ParamValue]]:
    if not dimensions:
        yield dict(params)
        return
    first, rest = dimensions[0], dimensions[1:]
    if not is_active(first, params):
        yield from _expand(rest, params, values_of)
        return
    for value in values_of(first, params):
        yield from _expand(rest, {**params, first.name: value}, values_of)


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


def grid_positions(dimension: Dimension) -> tuple[ParamValue, ...]:
    """The grid's positions on the axis of a dimension, in ascending order."""
    axis = axis_of(dimension)
    if axis.kind == "choices":
        return axis.choices
    num_values = int(axis.high) - int(axis.low) + 1 if axis.kind == "int" else math.inf
    takes_all = dimension.kind == "pow2" or dimension.step is not None  # at most MAX_GRID, as the recipe checks
    steps = dimension.steps or (int(num_values) if takes_all else GRID_STEPS)
    if num_values <= steps:
        return tuple(range(int(axis.low), int(axis.high) + 1))
    if axis.low == axis.high:
        return (axis.low,)
    spaced = [_between(axis, index, steps - 1) for index in range(steps)]
    if axis.kind == "int":
        return tuple(sorted({round(position) for position in spaced}))
    if dimension.per is None:  # in a narrow range, several positions have the same value
        return tuple({value_at(dimension, position, {}): position for position in spaced}.values())
    return tuple(spaced)


def is_listed(space: Space) -> bool:
    """Whether the recipe itself lists the grid's values: `steps` is given, or the space has no values between its points."""
    return all(
        dimension.steps is not None or _is_whole(dimension, len(grid_positions(dimension)))
        for dimension in space.dimensions
    )


def grid_size(space: Space) -> int:
    """Number of configurations of the grid, without building it. If conditions depend on more than
    MAX_GRID combinations of values, it is an upper bound, as if all hyperparameters always existed."""
    # Dimension by dimension, count the configurations for each combination of values that a later condition uses.
    counts: dict[tuple[tuple[str, ParamValue], ...], int] = {(): 1}
    for index, dimension in enumerate(space.dimensions):
        asked = {name for later in space.dimensions[index + 1 :] for name in (later.when or {})}
        following: dict[tuple[tuple[str, ParamValue], ...], int] = {}
        for known, count in counts.items():
            params = {**space.constants, **dict(known)}
            for value, times in _outcomes(dimension, params, keep=dimension.name in asked):
                kept = {name: item for name, item in known if name in asked}
                if value is not None:
                    kept[dimension.name] = value
                key = tuple(kept.items())
                following[key] = following.get(key, 0) + count * times
            if len(following) > MAX_GRID:
                return math.prod(len(grid_positions(one)) for one in space.dimensions)
        counts = following
    return sum(counts.values())


def grid_epochs(space: Space, full_epochs: float) -> float:
    """Cost in epochs of all the grid's configurations, if the longest training costs `full_epochs`. If `epochs` is searched,
    shorter trainings cost in proportion."""
    lengths = next((dimension for dimension in space.dimensions if dimension.name == "epochs"), None)
    if lengths is None:
        return min(grid_size(space), MAX_COUNTED) * full_epochs
    total = 0
    for length in lengths.choices:
        only = replace(lengths, choices=(length,))
        with_it = tuple(only if dimension is lengths else dimension for dimension in space.dimensions)
        total += int(length) * min(grid_size(replace(space, dimensions=with_it)), MAX_COUNTED)
    return total * full_epochs / max(map(int, lengths.choices))


def grid(space: Space) -> list[dict[str, ParamValue]]:
    """The positions of all configurations of the grid. Raises RecipeError if there are more than MAX_GRID."""
    check_grid_size(space)
    expanded = _expand(space.dimensions, dict(space.constants), _grid_values)
    return [positions_of(space, params) for params in expanded]


def on_grid(space: Space, positions: Mapping[str, ParamValue]) -> tuple[tuple[str, str], ...]:
    """A key that is equal for positions of the same configuration, rounded as for trials."""
    return configuration_key(params_at(space, positions))


def check_grid_size(space: Space) -> None:
    """Raise RecipeError if the grid has more than MAX_GRID configurations."""
    size = grid_size(space)
    if size <= MAX_GRID:
        return
    parts = " × ".join(
        f"{dimension.name} {len(grid_positions(dimension))}{' (conditional)' if dimension.when else ''}"
        for dimension in space.dimensions
    )
    raise RecipeError(
        f"The grid has {format_count(size)} configurations, but at most {format_count(MAX_GRID)} are allowed: {parts}.",
        hint="Use constants, fewer steps or fewer choices; or a sampler without a grid, such as tpe.",
    )


def _between(axis: Axis, index: int, last: int) -> float:
    fraction = index / last
    if index in (0, last):
        return axis.high if index else axis.low
    if axis.log:
        return float(axis.low * (axis.high / axis.low) ** fraction)
    return axis.low + fraction * (axis.high - axis.low)


def _is_whole(dimension: Dimension, num_points: int) -> bool:
    axis = axis_of(dimension)
    if axis.kind == "choices" or axis.low == axis.high:
        return True
    return axis.kind == "int" and num_points == int(axis.high) - int(axis.low) + 1


def _outcomes(
    dimension: Dimension, params: Mapping[str, ParamValue], *, keep: bool
) -> list[tuple[ParamValue | None, int]]:
    """(value, number of times); the value is None if the dimension does not exist or no condition uses it."""
    if not is_active(dimension, params):
        return [(None, 1)]
    return (
        [(value, 1) for value in _grid_values(dimension, params)] if keep else [(None, len(grid_positions(dimension)))]
    )


def _grid_values(dimension: Dimension, params: Params) -> list[ParamValue]:
    return [value_at(dimension, position, params) for position in grid_positions(dimension)]
