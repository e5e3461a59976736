"""The axes of a parallel-coordinates plot: where a hyperparameter's values lie between 0 and 1, and what is written there.

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from probe.report.search.summary import by_importance, objective_name, winner
from probe.report.shared.common import ParamValue, metric_text
from probe.report.shared.scales import num_hidden, shown_range
from probe.search.records.search import Dimension, SearchResult, TrialResult
from probe.units import format_count, format_lr, format_value

MAX_AXES = 12
"""Of hyperparameters: the most important ones, where there are more."""
MAX_LINES = 50
"""More would be a thicket: of many trials as many as this are drawn, evenly over their ranks."""
MAX_TICKS = 6
ABSENT = -0.14
"""Where a line passes an axis whose hyperparameter the trial does not have."""
SPREAD = 0.025
"""Lines through one choice or whole number are fanned out by this much to both sides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelAxis:
    """One vertical axis."""

    name: str
    ticks: tuple[tuple[float, str], ...]
    """Position from 0 (bottom) to 1 (top), and label."""
    has_absent: bool
    """Some trials pass below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelLine:
    """One trial, from axis to axis."""

    number: int
    positions: tuple[float, ...]
    """One for each axis; ABSENT where the trial has no such hyperparameter."""
    third: int
    """0: among the best third of the drawn trials, 2: among the worst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelLayout:
    axes: tuple[ParallelAxis, ...]
    """The hyperparameters in the space's order, then the objective, better values always on top."""
    lines: tuple[ParallelLine, ...]
    """The best trial first."""
    num_trials: int
    """With a value, drawn or not."""


def parallel_layout(result: SearchResult) -> ParallelLayout | None:
    """Where everything goes; None with fewer than two trials that have a value, or nothing that was searched."""
    trials = _drawn_trials(result)
    if len(trials) < 2 or not result.space:
        return None
    axes: list[ParallelAxis] = []
    columns: list[list[float]] = []
    for dimension in _drawn_dimensions(result):
        axis, places = _hyperparameter(dimension, trials)
        axes.append(axis)
        columns.append(places)
    axis, places = _objective(result, trials)
    axes.append(axis)
    columns.append(places)
    lines = [
        ParallelLine(
            number=trial.number,
            positions=tuple(column[rank] for column in columns),
            third=3 * rank // len(trials),
        )
        for rank, trial in enumerate(trials)
    ]
    num_trials = sum(trial.value is not None for trial in result.trials)
    return ParallelLayout(axes=tuple(axes), lines=tuple(lines), num_trials=num_trials)


def _drawn_trials(result: SearchResult) -> list[TrialResult]:
    """Those with a value, best first, the winner at the very top; of many an even selection."""
    won = winner(result)
    sign = -1.0 if result.mode == "max" else 1.0
    valued = [trial for trial in result.trials if trial.value is not None]
    valued.sort(key=lambda trial: (trial is not won, sign * (trial.value or 0.0), trial.number))
    most = min(MAX_LINES, len(valued))
    return [valued[rank * (len(valued) - 1) // max(1, most - 1)] for rank in range(most)]


def _drawn_dimensions(result: SearchResult) -> list[Dimension]:
    first = [name for name, _ in by_importance(result)]
    rest = [dimension.name for dimension in result.space if dimension.name not in first]
    names = [*first, *rest][:MAX_AXES]
    return [dimension for dimension in result.space if dimension.name in names]


def _hyperparameter(dimension: Dimension, trials: Sequence[TrialResult]) -> tuple[ParallelAxis, list[float]]:
    values = [trial.params.get(dimension.name) for trial in trials]
    there = [value for value in values if value is not None]
    numbers = [value for value in there if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if dimension.kind == "choices" or len(numbers) < len(there):
        place, ticks = _choices(dimension, there)
        is_discrete = True
    else:
        place, ticks = _numbers(dimension, [float(number) for number in numbers])
        is_discrete = dimension.kind in ("int", "pow2") or dimension.step is not None
    places = []
    for rank, value in enumerate(values):
        fan = SPREAD * (1 - 2 * rank / (len(values) - 1)) if is_discrete or value is None else 0.0
        places.append((ABSENT if value is None else place(value)) + fan)
    axis = ParallelAxis(name=dimension.name, ticks=tuple(ticks), has_absent=len(there) < len(values))
    return axis, places


def _choices(
    dimension: Dimension, values: Sequence[ParamValue]
) -> tuple[Callable[[ParamValue], float], list[tuple[float, str]]]:
    """Evenly spaced, the first at the top, as they stand in the recipe."""
    labels = list(dict.fromkeys([*map(format_value, dimension.choices), *map(format_value, values)]))
    last = len(labels) - 1
    heights = {label: 1 - index / last if last else 0.5 for index, label in enumerate(labels)}
    return lambda value: heights[format_value(value)], [(height, label) for label, height in heights.items()]


def _numbers(
    dimension: Dimension, values: Sequence[float]
) -> tuple[Callable[[ParamValue], float], list[tuple[float, str]]]:
    """Over the range that was searched, widened to values from outside of it; logarithmic where it was drawn so."""
    known = [*values, *[end for end in (dimension.low, dimension.high) if end is not None]]
    low, high = min(known, default=0.0), max(known, default=1.0)
    is_log = (dimension.log or dimension.kind == "pow2") and low > 0
    start, end = (math.log(low), math.log(high)) if is_log else (low, high)
    length = end - start

    def place(value: ParamValue) -> float:
        number = math.log(float(value)) if is_log else float(value)
        return min(1.0, max(0.0, (number - start) / length)) if length > 0 else 0.5

    write = format_lr if dimension.kind == "float" else (lambda number: format_count(round(number)))
    return place, [(place(number), write(number)) for number in _tick_values(dimension, low, high, is_log)]


def _tick_values(dimension: Dimension, low: float, high: float, is_log: bool) -> list[float]:
    """Both ends, and what lies between them: powers of ten or two, whole numbers, or the middle."""
    if low == high:
        return [low]
    if dimension.kind == "pow2" and is_log:
        inner = [2.0**power for power in range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)]
    elif is_log:
        inner = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    elif dimension.kind == "int":
        inner = [float(number) for number in range(math.ceil(low), math.floor(high) + 1, _stride(low, high))]
    else:
        return [low, (low + high) / 2, high]
    step = -(-len(inner) // MAX_TICKS)
    return [low, *_apart(inner[::step] if step else [], low, high, is_log), high]


def _stride(low: float, high: float) -> int:
    """Between whole numbers: at most MAX_TICKS of them, however large the range."""
    return max(1, math.ceil((high - low) / MAX_TICKS))


def _apart(inner: Sequence[float], low: float, high: float, is_log: bool) -> list[float]:
    """Without those whose labels would lie on the ends' ones."""
    scale = math.log if is_log else float
    start, length = scale(low), scale(high) - scale(low)
    return [value for value in inner if 0.09 <= (scale(value) - start) / length <= 0.91] if length > 0 else []


def _objective(result: SearchResult, trials: Sequence[TrialResult]) -> tuple[ParallelAxis, list[float]]:
    """Cut where a few hopeless values would press the rest flat: those are drawn at the bottom."""
    values = [trial.value for trial in trials if trial.value is not None]
    worst, best = shown_range(values, result.mode)
    length = best - worst

    def place(value: float) -> float:
        return min(1.0, max(0.0, (value - worst) / length)) if length else 0.5

    lowest = metric_text(result.metric, worst) + ("\nor worse" if num_hidden(values, result.mode) else "")
    ticks = [(0.0, lowest), (0.5, metric_text(result.metric, worst + length / 2))] if length else []
    ticks.append((place(best), metric_text(result.metric, best)))
    axis = ParallelAxis(name=objective_name(result), ticks=tuple(ticks), has_absent=False)
    return axis, [place(value) for value in values]
