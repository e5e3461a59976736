"""The grid over a space: which values it takes of every dimension, how many configurations that makes, and which. Pure.

Of choices a grid takes all, of powers of two and of ranges in steps all. Of other ranges it takes `steps` values, as the recipe
says, evenly spaced on the range's own scale with both ends among them; where it says nothing, GRID_STEPS, or all of a
whole-numbered range that holds no more than that. A hyperparameter that does not exist in a configuration multiplies nothing.
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
"""A learning rate from 1e-5 to 1e-1 is then tried at every power of ten."""
MAX_GRID = 10_000
"""Configurations of a grid that is built; a larger one is not searched but sampled."""


def grid_positions(dimension: Dimension) -> tuple[ParamValue, ...]:
    """The dimension's values in a grid, as positions on its axis, in growing order."""
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
    if dimension.per is None:  # in a narrow range several of them are the same value
        return tuple({value_at(dimension, position, {}): position for position in spaced}.values())
    return tuple(spaced)


def is_listed(space: Space) -> bool:
    """Whether the recipe itself names every value of a grid: no value between its points is in the space, or `steps` is
    given."""
    return all(
        dimension.steps is not None or _is_whole(dimension, len(grid_positions(dimension)))
        for dimension in space.dimensions
    )


def grid_size(space: Space) -> int:
    """How many configurations the grid has, without building it.

    The dimensions are gone through in order; all that is kept of the values before is how many configurations there are for
    each combination that a later condition asks about.
    """
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
    """What all the grid's configurations cost, where the longest trial costs `full_epochs`; shorter ones, where `epochs` is
    searched, cost in proportion."""
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
    """The positions of all the grid's configurations. Raises RecipeError for more than MAX_GRID of them."""
    check_grid_size(space)
    return list(_expand(space, 0, {}, dict(space.constants)))


def on_grid(space: Space, positions: Mapping[str, ParamValue]) -> tuple[tuple[str, str], ...]:
    """Equal for positions that are the same configuration, to the digits that are ever tried."""
    params = params_at(space, positions)
    return tuple(sorted((name, repr(value)) for name, value in params.items()))


def check_grid_size(space: Space) -> None:
    """Raise RecipeError, with the size and what to do, for a grid of more than MAX_GRID configurations."""
    size = grid_size(space)
    if size <= MAX_GRID:
        return
    parts = " × ".join(
        f"{dimension.name} {len(grid_positions(dimension))}{' (not always)' if dimension.when else ''}"
        for dimension in space.dimensions
    )
    raise RecipeError(
        f"The grid has {format_count(size)} configurations, and at most {format_count(MAX_GRID)} are tried: {parts}.",
        hint="Fix some of them, lower their steps or shorten their choices; or take a sampler that needs no grid, like tpe.",
    )


def _between(axis: Axis, index: int, last: int) -> float:
    share = index / last
    if index in (0, last):
        return axis.high if index else axis.low
    if axis.log:
        return float(axis.low * (axis.high / axis.low) ** share)
    return axis.low + share * (axis.high - axis.low)


def _is_whole(dimension: Dimension, num_points: int) -> bool:
    axis = axis_of(dimension)
    if axis.kind == "choices" or axis.low == axis.high:
        return True
    return axis.kind == "int" and num_points == int(axis.high) - int(axis.low) + 1


def _outcomes(
    dimension: Dimension, params: Mapping[str, ParamValue], *, keep: bool
) -> list[tuple[ParamValue | None, int]]:
    """(value, how often); the value is None where the dimension does not exist or nobody will ask for it."""
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
        # The position of the value as it is tried: a rounded float is what a start point would name.
        exact = position if dimension.kind == "choices" else position_of(dimension, value, params)
        yield from _expand(space, index + 1, {**positions, name: exact}, {**params, dimension.name: value})
