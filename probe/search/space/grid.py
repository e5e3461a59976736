"""The grid over a space: its values in each dimension, its size, and its configurations. Pure.

A grid has all choices, all powers of two, and all values of ranges with a step. Other ranges have `steps` values, evenly spaced
on the range's own scale including both ends. The default is GRID_STEPS, or all values of an integer range that has no more. A
conditional hyperparameter multiplies only the configurations in which it exists.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from probe.errors import RecipeError
from probe.search.records.search import Dimension, ParamValue
from probe.search.space.space import Axis, Space, axis_of, is_active, params_at, position_of, value_at
from probe.units import format_count

GRID_STEPS = 5
"""Default number of values of a range. A learning rate from 1e-5 to 1e-1 is tried at every power of ten."""
MAX_GRID = 10_000
"""Number of configurations of a grid at most."""


def grid_positions(dimension: Dimension) -> tuple[ParamValue, ...]:
    """The grid's positions on the axis of a dimension, in ascending order."""
    axis = axis_of(dimension)
    if axis.kind == "choices":
        return axis.choices
    num_values = int(axis.high) - int(axis.low) + 1 if axis.kind == "int" else math.inf
    takes_all = dimension.kind == "pow2" or dimension.step is not None
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
    """Number of configurations of the grid, without building it."""
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
        counts = following
    return sum(counts.values())


def grid_epochs(space: Space, full_epochs: float) -> float:
    """Cost in epochs of all the grid's configurations, if the longest training costs `full_epochs`. If `epochs` is searched,
    shorter trainings cost in proportion."""
    lengths = next((dimension for dimension in space.dimensions if dimension.name == "epochs"), None)
    if lengths is None:
        return grid_size(space) * full_epochs
    total = 0
    for length in lengths.choices:
        only = replace(lengths, choices=(length,))
        with_it = tuple(only if dimension is lengths else dimension for dimension in space.dimensions)
        total += int(length) * grid_size(replace(space, dimensions=with_it))
    return total * full_epochs / max(map(int, lengths.choices))


def grid(space: Space) -> list[dict[str, ParamValue]]:
    """The positions of all configurations of the grid. Raises RecipeError if there are more than MAX_GRID."""
    check_grid_size(space)
    return list(_expand(space, 0, {}, dict(space.constants)))


def on_grid(space: Space, positions: Mapping[str, ParamValue]) -> tuple[tuple[str, str], ...]:
    """A key that is equal for positions of the same configuration, rounded as for trials."""
    params = params_at(space, positions)
    return tuple(sorted((name, repr(value)) for name, value in params.items()))


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
    positions = grid_positions(dimension)
    return [(value_at(dimension, position, params), 1) for position in positions] if keep else [(None, len(positions))]


def _expand(
    space: Space, index: int, positions: dict[str, ParamValue], params: dict[str, ParamValue]
) -> Iterator[dict[str, ParamValue]]:
    if index == len(space.dimensions):
        yield positions
        return
    dimension = space.dimensions[index]
    if not is_active(dimension, params):
        yield from _expand(space, index + 1, positions, params)
        return
    name = axis_of(dimension).name
    for position in grid_positions(dimension):
        value = value_at(dimension, position, params)
        # The position of the rounded value, as a start point would give it.
        exact = position if dimension.kind == "choices" else position_of(dimension, value, params)
        yield from _expand(space, index + 1, {**positions, name: exact}, {**params, dimension.name: value})
