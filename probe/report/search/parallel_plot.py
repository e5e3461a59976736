"""Parallel coordinates: each trial is a line through its hyperparameters to its value."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from probe.printable import one_line
from probe.report.search.figures import by_importance, winner
from probe.report.shared.plots import (
    BLACK,
    BLUE,
    GREY,
    LIGHT,
    ORANGE,
    label_text,
    new_figure,
    num_hidden,
    save_figure,
    shown_range,
)
from probe.report.shared.wording import metric_text, objective_text
from probe.search.records.search import Dimension, ParamValue, SearchResult, TrialResult
from probe.units import format_count, format_lr, format_value

MAX_AXES = 12
"""Most axes for hyperparameters; the most important ones are shown."""
MAX_LINES = 50
"""Most lines; of more trials, so many are drawn, evenly spaced over their ranks."""
MAX_TICKS = 6
ABSENT = -0.14
"""Height at which a line passes an axis whose hyperparameter its trial does not have."""
SPREAD = 0.025
"""Lines through the same choice or whole number are spread by so much to both sides."""
INCHES_PER_AXIS = 1.15
MAX_NAME = 16
MAX_LABEL = 14
NUM_COLORS = 24
_THIRDS = ((BLUE, "-", 1.3, "best third"), (GREY, "--", 1.0, "middle"), (LIGHT, "-", 0.9, "worst third"))
"""Distinguished by darkness and dashes, also in black and white."""

Scale = tuple[Callable[[ParamValue], float], list[tuple[float, str]]]
"""The height of a value on its axis, and the ticks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelAxis:
    """One vertical axis."""

    name: str
    ticks: tuple[tuple[float, str], ...]
    """Position from 0 (bottom) to 1 (top), and label."""
    has_absent: bool
    """Whether some trials do not have this hyperparameter and pass below the axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelLine:
    """One trial, from axis to axis."""

    number: int
    positions: tuple[float, ...]
    """Height on each axis; ABSENT if the trial does not have that hyperparameter."""
    third: int
    """0: among the best third of the drawn trials, 2: among the worst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelLayout:
    """Axes and lines of the plot."""

    axes: tuple[ParallelAxis, ...]
    """The hyperparameters in the order of the space, then the objective with better values on top."""
    lines: tuple[ParallelLine, ...]
    """The best trial first."""
    num_trials: int
    """Number of trials with a value, drawn or not."""


def parallel_layout(result: SearchResult) -> ParallelLayout | None:
    """Compute the layout; None with fewer than two trials that have a value, or if nothing was searched."""
    trials = _drawn_trials(result)
    if len(trials) < 2 or not result.space:
        return None
    found = [_hyperparameter(dimension, trials) for dimension in _drawn_dimensions(result)]
    axes, columns = zip(*found, _objective(result, trials), strict=True)
    lines = [
        ParallelLine(number=trial.number, positions=positions, third=3 * rank // len(trials))
        for rank, (trial, positions) in enumerate(zip(trials, zip(*columns, strict=True), strict=True))
    ]
    num_trials = sum(trial.value is not None for trial in result.trials)
    return ParallelLayout(axes=tuple(axes), lines=tuple(lines), num_trials=num_trials)


def _drawn_trials(result: SearchResult) -> list[TrialResult]:
    """Trials with a value, the best trial first; of many trials, an even selection."""
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
    known = [value for value in values if value is not None]
    numbers = [value for value in known if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if dimension.kind == "choices" or len(numbers) < len(known):
        is_discrete, (place, ticks) = True, _choices(dimension, known)
    else:
        is_discrete = dimension.kind in ("int", "pow2") or dimension.step is not None
        place, ticks = _numbers(dimension, [float(number) for number in numbers])
    places = []
    for rank, value in enumerate(values):
        fan = SPREAD * (1 - 2 * rank / (len(values) - 1)) if is_discrete or value is None else 0.0
        places.append((ABSENT if value is None else place(value)) + fan)
    axis = ParallelAxis(name=dimension.name, ticks=tuple(ticks), has_absent=len(known) < len(values))
    return axis, places


def _choices(dimension: Dimension, values: Sequence[ParamValue]) -> Scale:
    """Choices evenly spaced in the order of the recipe, the first at the top."""
    labels = list(dict.fromkeys([*map(format_value, dimension.choices), *map(format_value, values)]))
    last = len(labels) - 1
    heights = {label: 1 - index / last if last else 0.5 for index, label in enumerate(labels)}
    return lambda value: heights[format_value(value)], [(height, label) for label, height in heights.items()]


def _numbers(dimension: Dimension, values: Sequence[float]) -> Scale:
    """Numbers over the searched range, extended to values outside of it; logarithmic if it was sampled so."""
    known = [*values, *(end for end in (dimension.low, dimension.high) if end is not None)]
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
    """Both ends and values between them: powers of ten or two, whole numbers, or the middle."""
    if low == high:
        return [low]
    if dimension.kind == "pow2" and is_log:
        inner = [2.0**power for power in range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)]
    elif is_log:
        inner = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    elif dimension.kind == "int":
        stride = max(1, math.ceil((high - low) / MAX_TICKS))
        inner = [float(number) for number in range(math.ceil(low), math.floor(high) + 1, stride)]
    else:
        return [low, (low + high) / 2, high]
    step = -(-len(inner) // MAX_TICKS)
    return [low, *_apart(inner[::step] if step else [], low, high, is_log), high]


def _apart(inner: Sequence[float], low: float, high: float, is_log: bool) -> list[float]:
    """The inner ticks whose labels do not overlap those of the ends."""
    scale = math.log if is_log else float
    start, length = scale(low), scale(high) - scale(low)
    return [value for value in inner if 0.09 <= (scale(value) - start) / length <= 0.91] if length > 0 else []


def _objective(result: SearchResult, trials: Sequence[TrialResult]) -> tuple[ParallelAxis, list[float]]:
    """The axis of the objective; a few very bad values that would flatten the rest are drawn at the bottom."""
    values = [trial.value for trial in trials if trial.value is not None]
    worst, best = shown_range(values, result.mode)
    length = best - worst

    def place(value: float) -> float:
        return min(1.0, max(0.0, (value - worst) / length)) if length else 0.5

    lowest = metric_text(result.metric, worst) + ("\nor worse" if num_hidden(values, result.mode) else "")
    ticks = [(0.0, lowest), (0.5, metric_text(result.metric, worst + length / 2))] if length else []
    ticks.append((place(best), metric_text(result.metric, best)))
    axis = ParallelAxis(name=objective_text(result.metric), ticks=tuple(ticks), has_absent=False)
    return axis, [place(value) for value in values]


def draw_parallel(result: SearchResult, path: Path) -> bool:
    """Draw the plot. Returns False with fewer than two trials that have a value."""
    layout = parallel_layout(result)
    if layout is None:
        return False
    figure, [axes] = new_figure(width=max(6.0, INCHES_PER_AXIS * len(layout.axes) + 0.6), height=4.2)
    xs = range(len(layout.axes))
    for line in reversed(layout.lines):
        color, dashes, width, _ = _THIRDS[line.third]
        if line is not layout.lines[0]:
            axes.plot(xs, line.positions, color=color, linestyle=dashes, linewidth=width, zorder=4 - line.third)
    won = layout.lines[0]
    bold: dict[str, Any] = {
        "color": ORANGE,
        "linewidth": 3.0,
        "marker": "o",
        "markersize": 7,
        "markeredgecolor": BLACK,
        "zorder": 6,
    }
    axes.plot(xs, won.positions, **bold, label=f"best trial ({won.number})")
    for third in sorted({line.third for line in layout.lines[1:]}):
        color, dashes, width, label = _THIRDS[third]
        axes.plot([], [], color=color, linestyle=dashes, linewidth=width, label=label)
    for x, axis in zip(xs, layout.axes, strict=True):
        _draw_axis(axes, x, axis, labels_right=x == xs[-1])
    axes.set_xlim(-0.55, len(layout.axes) - 0.35)
    axes.set_ylim(ABSENT - 0.06 if any(axis.has_absent for axis in layout.axes) else -0.06, 1.06)
    axes.axis("off")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=4)
    drawn, all_trials = len(layout.lines), layout.num_trials
    which = "Every trial" if drawn == all_trials else f"{drawn} of {all_trials} trials, evenly spaced over their ranks"
    axes.set_title(f"{which}: hyperparameters and value", pad=26)
    save_figure(figure, path, num_colors=NUM_COLORS)
    return True


def _draw_axis(axes: Axes, x: int, axis: ParallelAxis, *, labels_right: bool) -> None:
    axes.plot([x, x], [0, 1], color=BLACK, linewidth=1.1, zorder=5)
    name = "\n".join(label_text(word, MAX_NAME) for word in one_line(axis.name).split(" ", 1))
    axes.text(x, 1.05, name, ha="center", va="bottom", fontsize=9, fontweight="bold")
    ticks = [*axis.ticks, *([(ABSENT, "none")] if axis.has_absent else [])]
    for y, label in ticks:
        axes.plot([x - 0.03, x + 0.03], [y, y], color=BLACK, linewidth=1.0, zorder=5)
        axes.text(
            x + 0.1 if labels_right else x - 0.06,
            y,
            "\n".join(label_text(line, MAX_LABEL) for line in label.split("\n", 1)),
            ha="left" if labels_right else "right",
            va="center",
            fontsize=8,
            zorder=7,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
        )
