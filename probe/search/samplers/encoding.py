"""Encodes the configurations of a space as points of the unit cube, for models. Pure.

The code of a configuration has one number from 0 to 1 for each dimension, the position of the value on its axis. Integers and
choices are the centres of cells that fill the axis, so that a uniform draw is uniform over them. NaN means that the dimension
does not exist in the configuration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probe.recipe.values import same_value
from probe.recipe.when import Condition, all_hold
from probe.search.records.search import Dimension, ParamValue
from probe.search.space.space import Axis, Positions, Space, axis_of, value_at

Numbers = NDArray[Any]
ABSENT = 0.5
"""Feature of a range that does not exist in a configuration: the middle, like a default value."""
MOVED = 0.3
"""Average fraction of the dimensions in which a neighbour differs."""


class Encoder:
    """Encodes and decodes the configurations of a space. Arrays of codes have the shape (configurations, dimensions)."""

    def __init__(self, space: Space) -> None:
        self._columns = [_Column(dimension) for dimension in space.dimensions]
        self._constants = space.constants
        self.num_dimensions = len(self._columns)
        self.groups: NDArray[np.intp] = np.repeat(
            np.arange(self.num_dimensions), [column.num_features for column in self._columns]
        )
        """Dimension of each feature, (features,)."""

    def encode(self, positions: Positions) -> Numbers:
        """The code of a configuration, (dimensions,)."""
        return np.array(
            [column.code(positions[column.name]) if column.name in positions else math.nan for column in self._columns]
        )

    def decode(self, code: Numbers) -> dict[str, ParamValue]:
        """The positions of a code."""
        return {
            column.name: column.position(number)
            for column, number in zip(self._columns, code, strict=True)
            if not math.isnan(number)
        }

    def snapped(self, points: Numbers) -> Numbers:
        """The codes of the configurations closest to points of the unit cube, with NaN for dimensions that do not exist."""
        codes = np.stack([column.snapped(points[:, index]) for index, column in enumerate(self._columns)], axis=1)
        for index, column in enumerate(self._columns):
            if column.dimension.when:
                codes[~self._exists(column.dimension.when, codes), index] = math.nan
        return codes

    def near(self, codes: Numbers, scale: float, generator: np.random.Generator) -> Numbers:
        """A random neighbour of each configuration, moved by about `scale` of the axis in some dimensions."""
        uniform = generator.random(codes.shape)
        points = np.where(np.isnan(codes), uniform, codes)
        moves = generator.random(codes.shape) < max(MOVED, 1 / self.num_dimensions)
        moves[np.arange(len(codes)), generator.integers(0, self.num_dimensions, len(codes))] = True
        steps = generator.normal(0.0, scale, codes.shape)
        for index, column in enumerate(self._columns):
            moved = column.moved(points[:, index], steps[:, index], uniform[:, index])
            points[:, index] = np.where(moves[:, index], moved, points[:, index])
        return self.snapped(points)

    def features(self, codes: Numbers) -> Numbers:
        """The features between which a kernel measures distances, (configurations, features)."""
        return np.concatenate([column.features(codes[:, index]) for index, column in enumerate(self._columns)], axis=1)

    def _exists(self, when: Mapping[str, Condition], codes: Numbers) -> NDArray[np.bool_]:
        """In which configurations a condition holds, (configurations,)."""
        about = [index for index, column in enumerate(self._columns) if column.dimension.name in when]
        distinct, inverse = np.unique(codes[:, about], axis=0, return_inverse=True)
        holds = []
        for row in distinct:
            params = {name: value for name, value in self._constants.items() if name in when}
            for index, code in zip(about, row, strict=True):
                if not math.isnan(code):
                    params[self._columns[index].dimension.name] = self._columns[index].value(code)
            holds.append(all_hold(when, params))
        return np.array(holds)[inverse.reshape(-1)]


class _Column:
    """One dimension of the unit cube."""

    def __init__(self, dimension: Dimension) -> None:
        self.dimension = dimension
        axis = axis_of(dimension)
        self.name = axis.name
        ordered = _ordered(axis)
        self._choices = ordered or axis.choices
        """Empty for a range."""
        self._is_nominal = axis.kind == "choices" and ordered is None
        self._is_log = axis.log
        self._is_whole = axis.kind != "float"
        self._low, self._high = (0.0, len(self._choices) - 1.0) if self._choices else (axis.low, axis.high)
        margin = 0.5 if self._is_whole else 0.0  # an integer fills the cell around it
        self._from, self._to = self._scale(self._low - margin), self._scale(self._high + margin)

    @property
    def num_features(self) -> int:
        return len(self._choices) if self._is_nominal else 1

    def code(self, position: ParamValue) -> float:
        number = _index(self._choices, position) if self._choices else float(position)
        return float(self._codes(np.array([min(max(number, self._low), self._high)]))[0])

    def position(self, code: float) -> ParamValue:
        number = float(self._values(np.array([code]))[0])
        if self._choices:
            return self._choices[int(number)]
        return int(number) if self._is_whole else number

    def value(self, code: float) -> ParamValue:
        return value_at(self.dimension, self.position(code), {})

    def snapped(self, points: Numbers) -> Numbers:
        return self._codes(self._values(points))

    def moved(self, points: Numbers, steps: Numbers, uniform: Numbers) -> Numbers:
        """Points after a step. Nominal choices are drawn again, as they have no distances; integers move by at least one."""
        if self._is_nominal:
            return uniform
        found: Numbers = np.clip(points + steps, 0.0, 1.0)
        if self._is_whole:
            before, after = self._values(points), self._values(found)
            after = np.where(before == after, np.clip(before + np.sign(steps), self._low, self._high), after)
            found = self._codes(after)
        return found

    def features(self, codes: Numbers) -> Numbers:
        """One feature; for nominal choices a one-hot vector, scaled so that two choices have distance 1."""
        if not self._is_nominal:
            one: Numbers = np.where(np.isnan(codes), ABSENT, codes)[:, None]
            return one
        cells = np.where(np.isnan(codes), -1, self._values(np.nan_to_num(codes)))
        one_hot: Numbers = (cells[:, None] == np.arange(self.num_features)) / math.sqrt(2)
        return one_hot

    def _values(self, codes: Numbers) -> Numbers:
        """Codes -> numbers on the axis: values, integers, or indices of choices."""
        scaled = self._from + codes * (self._to - self._from)
        numbers = np.exp(scaled) if self._is_log else scaled
        clipped: Numbers = np.clip(np.rint(numbers) if self._is_whole else numbers, self._low, self._high)
        return clipped

    def _codes(self, numbers: Numbers) -> Numbers:
        if self._to == self._from:
            return np.full(len(numbers), 0.5)
        codes: Numbers = ((np.log(numbers) if self._is_log else numbers) - self._from) / (self._to - self._from)
        return codes

    def _scale(self, number: float) -> float:
        return math.log(number) if self._is_log else number


def _index(choices: Sequence[ParamValue], wanted: ParamValue) -> int:
    """The index of a choice. 1 equals 1.0, but not True."""
    return next(index for index, choice in enumerate(choices) if same_value(choice, wanted))


def _ordered(axis: Axis) -> tuple[ParamValue, ...] | None:
    """The choices in ascending order if all of them are numbers; otherwise None."""
    if axis.kind != "choices" or not all(type(choice) in (int, float) for choice in axis.choices):
        return None
    return tuple(sorted(axis.choices, key=float))
