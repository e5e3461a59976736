"""Gradient steps on hyperparameters: the next configuration, given the trials so far. Pure.

Each hyperparameter has a coordinate from 0 to 1 on the scale of its range (log or linear). A step goes against the gradient of
the validation loss, and `step` is the change of the coordinate that changes most. Only the direction of the gradient is used:
the size of gradients through unrolled training varies by orders of magnitude between points (Metz et al. 2019,
https://arxiv.org/abs/1810.10180). After a step that lowers the loss, the next one starts from the new point and may be longer.
After any other step, a shorter one is tried from the same point with the same gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from probe.search.records.search import Dimension, ParamValue, Refinement
from probe.search.space.space import round_significant

UNROLLED_COST = 4
"""Cost of an unrolled pass over the data, in ordinary passes: the pass itself; on the way back, the forward and backward
computation once more, and its own backward pass, which is twice that work."""
GROWTH = 1.5
SHRINKAGE = 1 / 3
MAX_STEP = 0.5
MIN_STEP = 0.003
"""Shortest step, as a fraction of a range: for a range of six decades, a change of 4 % in value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A refined trial that has ended."""

    number: int
    refinement: Refinement
    value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """Starting point and length of the next step."""

    base: int
    """Number of the trial to start from."""
    step: float
    known: Refinement | None
    """A refinement with the gradient at `base`; None if the gradient has to be computed."""

    @property
    def is_over(self) -> bool:
        return self.step < MIN_STEP


def next_step(start: int, start_value: float, tried: Sequence[Tried], *, first_step: float) -> NextStep:
    """Starting point and length of the next step, after the refined trials `tried`. `start` is the number of the best
    trial before them, `start_value` its validation loss."""
    base, value, step = start, start_value, first_step
    known: Refinement | None = None
    for trial in tried:
        if trial.value is not None and trial.value < value:
            base, value, known = trial.number, trial.value, None
            step = min(MAX_STEP, GROWTH * trial.refinement.step)
        else:
            known = trial.refinement
            step = SHRINKAGE * trial.refinement.step
    return NextStep(base=base, step=step, known=known)


def next_params(
    dimensions: Sequence[Dimension], params: Mapping[str, ParamValue], gradient: Mapping[str, float], step: float
) -> dict[str, ParamValue] | None:
    """`params` after one step against the gradient. None if that changes nothing: at the ends of all ranges, if the
    gradient is zero or not finite, or after rounding."""
    # Slopes in coordinates, by the chain rule; a slope that points out of its range counts as zero.
    slopes = {}
    for dimension in dimensions:
        value = float(params[dimension.name])
        slope = gradient[dimension.name] * _scale(dimension, value)
        place = coordinate(dimension, value)
        if not math.isfinite(slope):
            return None
        points_outside = (place <= 0 and slope > 0) or (place >= 1 and slope < 0)
        slopes[dimension.name] = 0.0 if points_outside else slope
    largest = max(map(abs, slopes.values()), default=0.0)
    if largest == 0:
        return None
    # The step is scaled to `step` in the coordinate with the largest slope.
    new = dict(params)
    for dimension in dimensions:
        place = coordinate(dimension, float(params[dimension.name])) - step * slopes[dimension.name] / largest
        new[dimension.name] = value_of(dimension, min(max(place, 0.0), 1.0))
    return None if new == dict(params) else new


def coordinate(dimension: Dimension, value: float) -> float:
    """Position of `value` in its range: 0 at the low end, 1 at the high end."""
    low, high = _ends(dimension)
    value = min(max(value, low), high)
    if dimension.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def value_of(dimension: Dimension, place: float) -> float:
    """The value at a coordinate from 0 to 1, rounded to significant digits."""
    low, high = _ends(dimension)
    value = low * (high / low) ** place if dimension.log else low + place * (high - low)
    return min(max(round_significant(value), low), high)


def _scale(dimension: Dimension, value: float) -> float:
    """d value / d coordinate."""
    low, high = _ends(dimension)
    return value * math.log(high / low) if dimension.log else high - low


def _ends(dimension: Dimension) -> tuple[float, float]:
    if dimension.low is None or dimension.high is None or not dimension.low < dimension.high:
        raise ValueError(f"{dimension.name}: a refined dimension needs a range")
    return dimension.low, dimension.high
