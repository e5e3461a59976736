"""The space of configurations: from what the recipe says and the probes found to what a sampler draws, and back.

A sampler draws one *position* per active dimension, on an axis that suits it: a power of two by its exponent, a learning rate
whose range depends on the optimizer by where it lies in that range (0: lowest, 1: highest, in logarithm). So "a third below
the suggestion" means the same for SGD and Adam, and what was learned with one optimizer helps with the other; a
multivariate sampler still sees their interplay, as the optimizer is another coordinate of the same point.
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
"""Of sampled floats: finer differences mean nothing and read badly."""

Params = Mapping[str, ParamValue]
Positions = Mapping[str, ParamValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Dimensions so ordered that each one comes after those its condition or range looks at."""

    dimensions: tuple[Dimension, ...]
    constants: Params


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What a sampler needs to know of a dimension; `name` is that of the position."""

    name: str
    kind: Literal["float", "int", "choices"]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[ParamValue, ...] = ()


def axis_of(dimension: Dimension) -> Axis:
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
    """A whole configuration's positions, with `suggest` asked once for each dimension that exists in it."""
    positions: dict[str, ParamValue] = {}
    params = dict(space.constants)
    for dimension in space.dimensions:
        if is_active(dimension, params):
            axis = axis_of(dimension)
            positions[axis.name] = suggest(axis)
            params[dimension.name] = value_at(dimension, positions[axis.name], params)
    return positions


def params_at(space: Space, positions: Positions) -> dict[str, ParamValue]:
    """The configuration at these positions: what is searched, in the recipe's order, then the constants."""
    params = dict(space.constants)
    for dimension in space.dimensions:
        if is_active(dimension, params):
            params[dimension.name] = value_at(dimension, positions[axis_of(dimension).name], params)
    return constants_last(space, params)


def positions_of(space: Space, params: Params) -> dict[str, ParamValue]:
    """The inverse of `params_at`; a value outside of its range lands on the nearer end."""
    return {
        axis_of(dimension).name: position_of(dimension, params[dimension.name], params)
        for dimension in space.dimensions
        if is_active(dimension, params)
    }


def complete(space: Space, given: Params, *, seed: int) -> dict[str, ParamValue]:
    """A whole configuration that keeps `given` (a start point) as it is and draws the rest at random.

    Constants may be overridden too. Of `given`, what does not exist in the configuration is left out.
    """
    suggest = random_suggest(seed)
    params: dict[str, ParamValue] = {**space.constants, **{k: v for k, v in given.items() if k in space.constants}}
    for dimension in space.dimensions:
        if is_active(dimension, params):
            drawn = suggest(axis_of(dimension))  # drawn even where given, so that what is given changes nothing else
            name = dimension.name
            params[name] = given[name] if name in given else value_at(dimension, drawn, params)
    return constants_last(space, params)


def constants_last(space: Space, params: Params) -> dict[str, ParamValue]:
    """People read what was chosen first."""
    searched = {name: value for name, value in params.items() if name not in space.constants}
    return {**searched, **params}


def random_suggest(seed: int) -> Callable[[Axis], ParamValue]:
    """Uniform draws on axes."""
    generator = random.Random(seed)

    def suggest(axis: Axis) -> ParamValue:
        if axis.kind == "choices":
            return generator.choice(axis.choices)
        margin = 0.5 if axis.kind == "int" else 0.0  # what is rounded to an end counts for it, as for any other number
        low, high = axis.low - margin, axis.high + margin
        drawn = math.exp(generator.uniform(math.log(low), math.log(high))) if axis.log else generator.uniform(low, high)
        if axis.kind == "int":
            return int(min(max(round(drawn), axis.low), axis.high))
        return min(max(drawn, axis.low), axis.high)

    return suggest


def is_active(dimension: Dimension, params: Params) -> bool:
    """Whether the dimension exists in a configuration with these values."""
    return all_hold(dimension.when, params)


def value_at(dimension: Dimension, position: ParamValue, params: Params) -> ParamValue:
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
    """Equal for equal configurations; True, 1 and 1.0 are different values."""
    return tuple(sorted((name, repr(value)) for name, value in params.items()))


def round_significant(number: float, digits: int = SIGNIFICANT_DIGITS) -> float:
    return float(f"{number:.{digits}g}")


def range_of(dimension: Dimension, params: Params) -> tuple[float, float]:
    """Its lowest and highest value in a configuration with these values; not for choices."""
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
