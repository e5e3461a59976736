"""The space of configurations, and the positions on axes that samplers use.

A sampler chooses one *position* for each active dimension, on an axis that suits it: the exponent of a power of two; for a
learning rate whose range depends on the optimizer, the place in that range (0 for the lowest, 1 for the highest, on a log
scale). A position then has the same meaning for SGD and Adam, so that what a sampler learned with one optimizer helps with the
other; a multivariate sampler still sees their interaction, as the optimizer is another coordinate.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from probe.recipe.values import num_steps, value_after
from probe.recipe.when import all_hold
from probe.search.records.search import Dimension, ParamValue

SIGNIFICANT_DIGITS = 4
"""Number of digits of sampled floats. Finer differences do not matter and are hard to read."""

Params = Mapping[str, ParamValue]
Positions = Mapping[str, ParamValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Dimensions, each after those that its condition or range depends on, and constants."""

    dimensions: tuple[Dimension, ...]
    constants: Params


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The axis on which samplers choose the positions of a dimension. `name` is the name of the position."""

    name: str
    kind: Literal["float", "int", "choices"]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[ParamValue, ...] = ()


def axis_of(dimension: Dimension) -> Axis:
    """The axis of a dimension."""
    if dimension.kind == "choices":
        return Axis(name=dimension.name, kind="choices", choices=dimension.choices)
    if dimension.per is not None:
        return Axis(name=f"{dimension.name}@position", kind="float", low=0.0, high=1.0)
    low, high = _ends(dimension)
    if dimension.kind == "pow2":
        return Axis(name=f"log2_{dimension.name}", kind="int", low=_exponent(low), high=_exponent(high))
    if dimension.step is not None:
        return Axis(name=f"{dimension.name}@step", kind="int", high=num_steps(low, high, dimension.step))
    return Axis(name=dimension.name, kind=dimension.kind, low=low, high=high, log=dimension.log)


def draw(space: Space, suggest: Callable[[Axis], ParamValue]) -> dict[str, ParamValue]:
    """The positions of a new configuration; `suggest` is called once for each dimension that exists in it."""
    positions: dict[str, ParamValue] = {}
    params = dict(space.constants)
    for dimension in space.dimensions:
        if is_active(dimension, params):
            axis = axis_of(dimension)
            positions[axis.name] = suggest(axis)
            params[dimension.name] = value_at(dimension, positions[axis.name], params)
    return positions


def params_at(space: Space, positions: Positions) -> dict[str, ParamValue]:
    """The configuration at these positions: searched hyperparameters in the recipe's order, then constants."""
    params = dict(space.constants)
    for dimension in space.dimensions:
        if is_active(dimension, params):
            params[dimension.name] = value_at(dimension, positions[axis_of(dimension).name], params)
    return constants_last(space, params)


def check_positions(space: Space, positions: Positions) -> None:
    """Raise ValueError or KeyError unless `positions` has a place on the axis of every dimension that exists."""

    def find(axis: Axis) -> ParamValue:
        position = positions[axis.name]
        if axis.kind != "choices":
            margin = 1e-9 * max(abs(axis.low), abs(axis.high))
            if isinstance(position, str) or not axis.low - margin <= position <= axis.high + margin:
                raise ValueError(f"the position {axis.name} = {position} is not between {axis.low} and {axis.high}")
        return position

    draw(space, find)


def positions_of(space: Space, params: Params) -> dict[str, ParamValue]:
    """The inverse of `params_at`. A value outside its range has the position of the closer end."""
    return {
        axis_of(dimension).name: position_of(dimension, params[dimension.name], params)
        for dimension in space.dimensions
        if is_active(dimension, params)
    }


def complete(space: Space, given: Params, *, seed: int) -> dict[str, ParamValue]:
    """A configuration with the values of a start point, and random values for the rest. `given` may override constants;
    hyperparameters that do not exist in the configuration are left out."""
    suggest = random_suggest(seed)
    params: dict[str, ParamValue] = {**space.constants, **{k: v for k, v in given.items() if k in space.constants}}
    for dimension in space.dimensions:
        if is_active(dimension, params):
            drawn = suggest(axis_of(dimension))  # even if given, so that `given` does not change the other draws
            name = dimension.name
            params[name] = given[name] if name in given else value_at(dimension, drawn, params)
    return constants_last(space, params)


def constants_last(space: Space, params: Params) -> dict[str, ParamValue]:
    """The same configuration with the searched hyperparameters first."""
    searched = {name: value for name, value in params.items() if name not in space.constants}
    return {**searched, **params}


def random_suggest(seed: int) -> Callable[[Axis], ParamValue]:
    """A function that draws uniformly on axes."""
    generator = random.Random(seed)

    def suggest(axis: Axis) -> ParamValue:
        if axis.kind == "choices":
            return generator.choice(axis.choices)
        margin = 0.5 if axis.kind == "int" else 0.0  # so that both ends are as likely as other integers
        low, high = axis.low - margin, axis.high + margin
        drawn = math.exp(generator.uniform(math.log(low), math.log(high))) if axis.log else generator.uniform(low, high)
        if axis.kind == "int":
            return int(min(max(round(drawn), axis.low), axis.high))
        return min(max(drawn, axis.low), axis.high)

    return suggest


def is_active(dimension: Dimension, params: Params) -> bool:
    """Whether the dimension exists in a configuration with `params`."""
    return all_hold(dimension.when, params)


def value_at(dimension: Dimension, position: ParamValue, params: Params) -> ParamValue:
    """The value of a dimension at a position, in a configuration with `params`."""
    if dimension.kind == "choices":
        return position
    number = float(position)
    if dimension.kind == "pow2":
        return int(2 ** round(number))
    low, high = range_of(dimension, params)
    if dimension.step is not None:
        number = value_after(low, dimension.step, round(number))
        return round(number) if dimension.kind == "int" else number
    if dimension.per is not None:
        number = low * (high / low) ** number
    if dimension.kind == "int":
        return round(number)
    return min(max(round_significant(number), low), high)


def position_of(dimension: Dimension, value: ParamValue, params: Params) -> ParamValue:
    """The position of a value, in a configuration with `params`."""
    if dimension.kind == "choices":
        return value
    low, high = range_of(dimension, params)
    number = min(max(float(value), low), high)
    if dimension.kind == "pow2":
        return _exponent(number)
    if dimension.step is not None:
        return round((number - low) / dimension.step)
    if dimension.per is not None:
        return math.log(number / low) / math.log(high / low) if high > low else 0.0
    return round(number) if dimension.kind == "int" else number


def configuration_key(params: Params) -> tuple[tuple[str, str], ...]:
    """A key that is equal for equal configurations. True, 1 and 1.0 are different values."""
    return tuple(sorted((name, repr(value)) for name, value in params.items()))


def round_significant(number: float, digits: int = SIGNIFICANT_DIGITS) -> float:
    """`number` rounded to significant digits."""
    return float(f"{number:.{digits}g}")


def range_of(dimension: Dimension, params: Params) -> tuple[float, float]:
    """Lowest and highest value of a dimension without choices, in a configuration with `params`."""
    if dimension.per is None:
        return _ends(dimension)
    low, high = dimension.per[str(params["optimizer"])]
    return low, high


def _ends(dimension: Dimension) -> tuple[float, float]:
    if dimension.low is None or dimension.high is None:
        raise ValueError(f"{dimension.name}: a {dimension.kind} dimension needs both ends")
    return dimension.low, dimension.high


def _exponent(number: float) -> int:
    return round(math.log2(number))
