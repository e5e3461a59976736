"""Gradient steps on hyperparameters: where to go next from what was tried. Pure.

Each hyperparameter has a coordinate from 0 to 1 on its range's own scale (log or linear). A step goes against the gradient of
the validation loss, as long as `step` in its largest coordinate: gradients through unrolled training differ by orders of
magnitude from point to point, so that their direction is of use, and their size is not (Metz et al. 2019,
https://arxiv.org/abs/1810.10180). A step that lowers the loss is kept and the next one may be longer; one that does not is
made shorter, from the same point with the same gradient. So every point that is kept is better than the one before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from probe.search.records.search import Dimension, ParamValue, Refinement
from probe.search.space.space import round_significant

GROWTH = 1.5
SHRINKAGE = 1 / 3
MAX_STEP = 0.5
MIN_STEP = 0.003
"""Of a range's length: with six decades, 4 % of a hyperparameter's value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A refined trial that is over."""

    number: int
    refinement: Refinement
    value: float | None
    """Its validation loss; None where it came to none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the refinement stands."""

    base: int
    """The trial to go on from."""
    step: float
    known: Refinement | None
    """One that holds the gradient at `base`; None: it has to be computed."""

    @property
    def is_over(self) -> bool:
        return self.step < MIN_STEP


def place_after(start: int, start_value: float, tried: Sequence[Tried], *, first_step: float) -> Place:
    """`start` is the best of the trials before the refinement, `tried` what came after it, in order."""
    base, value, step = start, start_value, first_step
    known: Refinement | None = None
    for trial in tried:
        if trial.value is not None and trial.value < value:
            base, value, known = trial.number, trial.value, None
            step = min(MAX_STEP, GROWTH * trial.refinement.step)
        else:
            known = trial.refinement
            step = SHRINKAGE * trial.refinement.step
    return Place(base=base, step=step, known=known)


def next_params(
    dimensions: Sequence[Dimension], params: Mapping[str, ParamValue], gradient: Mapping[str, float], step: float
) -> dict[str, ParamValue] | None:
    """`params` one step against the gradient; None where that leads nowhere: at the ends of all ranges, at a gradient of zero
    or one that is not finite, or where rounding eats the step."""
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
    new = dict(params)
    for dimension in dimensions:
        place = coordinate(dimension, float(params[dimension.name])) - step * slopes[dimension.name] / largest
        new[dimension.name] = value_of(dimension, min(max(place, 0.0), 1.0))
    return None if new == dict(params) else new


def coordinate(dimension: Dimension, value: float) -> float:
    """Where `value` lies in its range: 0 at the low end, 1 at the high one."""
    low, high = _ends(dimension)
    value = min(max(value, low), high)
    if dimension.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def value_of(dimension: Dimension, place: float) -> float:
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
