"""The style of all plots, their axes and limits, and learning curves. pyplot with its global state is never imported."""

from __future__ import annotations

import io
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from PIL import Image

from probe.files import write_bytes
from probe.report.shared.wording import shorten
from probe.training.records import EpochReport
from probe.units import format_gpu_memory

# The palette of Okabe & Ito, distinguishable with any colour vision; ordered so that neighbors also differ in grey.
BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
BLACK, GREY, LIGHT = "#222222", "#777777", "#BBBBBB"
COLORS = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY)
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P")

_STYLE: dict[str, Any] = {
    "figure.facecolor": "white",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.8,
    "xtick.color": BLACK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": True,
    "legend.framealpha": 0.9,
    "legend.edgecolor": "white",
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "path.simplify_threshold": 0.5,
    "text.parse_math": False,  # a dollar sign in the name of a metric is a dollar sign
}
Drawings = dict[str, Callable[[Path], bool]]
"""File name -> function that draws the plot into a file; it returns False and writes nothing if there is nothing to draw."""
_DOTS_PER_INCH = 130
_MAX_BYTE_TICKS = 9


@contextmanager
def plot_style() -> Iterator[None]:
    """Apply the style of reports, regardless of the user's matplotlibrc, which is restored afterwards."""
    with matplotlib.style.context(["default", _STYLE]):
        yield


def new_figure(num_columns: int = 1, *, width: float = 7.0, height: float = 3.8) -> tuple[Figure, list[Axes]]:
    """A figure of `width` by `height` inches, labels included, with a row of axes."""
    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots(1, num_columns, squeeze=False)
    return figure, list(axes[0])


def save_figure(figure: Figure, path: Path, *, num_colors: int = 128) -> None:
    """Write a PNG whose bytes depend on the figure only. A palette of 128 colors needs a third of the size of full color."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Characters that matplotlib's font lacks are drawn as boxes; report.md shows them.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        # Names of many wide letters leave no room for the curves: they are drawn across the names.
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 1})
    picture = Image.open(buffer).convert("RGB")
    picture = picture.quantize(num_colors, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    write_bytes(path, buffer.getvalue())


def draw_points(axes: Axes, points: Sequence[tuple[float, float]], **style: Any) -> None:
    """Draw pairs of x and y as a line, or with linestyle "none" as markers alone; nothing without any pair."""
    if points:
        axes.plot(*zip(*points, strict=True), **style)


def note(axes: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], **style: Any) -> None:
    """Write `text` at an offset in points from a place."""
    axes.annotate(text, at, xytext=offset, textcoords="offset points", **style)


def label_text(text: str, most: int = 40) -> str:
    """A text that is not probe's own as a label of one line; matplotlib hides labels that start with an underscore."""
    num_wide = sum(east_asian_width(letter) in "WF" for letter in shorten(text, most))
    line = shorten(text, most - num_wide // 2)
    return f" {line}" if line.startswith("_") else line


def ticks_at(axis: Axis, values: Sequence[float], label: Callable[[float], str]) -> None:
    """Put ticks at these values only: for batch sizes, rungs and names of rows."""
    axis.set_major_locator(FixedLocator([float(value) for value in values]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))


def powers_of_two(lowest: float, highest: float, most: int) -> list[float]:
    """At most `most` powers of two from that at or below `lowest` to that at or below `highest`."""
    first, last = int(lowest).bit_length() - 1, int(highest).bit_length() - 1
    return [2.0**power for power in range(first, last + 1, -(-(last - first + 1) // most))]


def byte_ticks(axes: Axes, lowest: float, highest: float) -> None:
    """Make the y axis logarithmic in bytes, with ticks at powers of two."""
    axes.set_yscale("log", base=2)
    ticks = powers_of_two(lowest, 2 * highest, _MAX_BYTE_TICKS)
    ticks_at(axes.yaxis, ticks, lambda value: format_gpu_memory(round(value)))


def color_of(index: int) -> str:
    return COLORS[index % len(COLORS)]


def series_style(index: int) -> dict[str, Any]:
    """Color, dashes and marker of a line among many, of which no two are equal."""
    shifted = index + index // len(COLORS)
    return {
        "color": color_of(index),
        "linestyle": LINES[shifted % len(LINES)],
        "marker": MARKERS[shifted % len(MARKERS)],
    }


def shown_range(values: Sequence[float], mode: str) -> tuple[float, float]:
    """(worst, best) value that a plot shows: all of them, unless a few very bad ones would flatten the rest.

    The bad end is cut at three times the distance from the best to the median value.
    """
    ordered = sorted(values, reverse=mode == "max")
    best, median, worst = ordered[0], ordered[len(ordered) // 2], ordered[-1]
    spread = 3 * abs(median - best)
    end = worst if spread == 0 or abs(worst - best) <= spread else best + math.copysign(spread, worst - best)
    return end, best


def value_limits(values: Sequence[float], mode: str) -> tuple[float, float]:
    """Limits for an axis: the shown range with a margin. Always low < high."""
    low, high = sorted(shown_range(values, mode))
    # a margin below the smallest normal number would round to nothing
    margin = max(0.06 * ((high - low) or abs(high) or 1.0), sys.float_info.min)
    return low - margin, high + margin


def num_hidden(values: Sequence[float], mode: str) -> int:
    """Number of values beyond the bad end of the shown range."""
    worst, _ = shown_range(values, mode)
    return sum(value < worst if mode == "max" else value > worst for value in values)


MAX_METRICS = 3
MAX_TITLE = 60
MAX_MARKED_EPOCHS = 30


def draw_curves(
    reports: Sequence[EpochReport], path: Path, *, title: str, metric: str, final: Sequence[EpochReport] = ()
) -> bool:
    """Draw losses and metrics by epoch; `final` is a second training without validation. Returns False without any report."""
    if not reports:
        return False
    names = shown_metrics(reports, metric)
    figure, [loss, *others] = new_figure(2 if names else 1, width=7.6 if names else 5.2, height=3.6)
    _draw_line(loss, reports, [r.train_loss for r in reports], 0, "training")
    _draw_line(loss, reports, [r.val_loss for r in reports], 1, "validation")
    if final:
        _draw_line(loss, final, [r.train_loss for r in final], 2, "final training")
    _finish_panel(loss, "loss")
    for axes in others:
        if len(names) == 1:
            [name] = names
            _draw_line(axes, reports, [r.train_metrics.get(name) for r in reports], 0, "training")
            _draw_line(axes, reports, [r.metrics.get(name) for r in reports], 1, "validation")
            _draw_line(axes, final, [r.train_metrics.get(name) for r in final], 2, "final training")
            _finish_panel(axes, name)
        else:
            for index, name in enumerate(names):
                _draw_line(axes, reports, [r.metrics.get(name) for r in reports], 1 + index, name)
            _finish_panel(axes, "on validation data")
    loss.set_title(label_text(title, MAX_TITLE))
    save_figure(figure, path)
    return True


def shown_metrics(reports: Sequence[EpochReport], objective: str) -> list[str]:
    """The metrics drawn in one panel, the objective first: several only if all of them are between 0 and 1."""
    values: dict[str, list[float]] = {}
    for report in reports:
        for name, value in report.metrics.items():
            values.setdefault(name, []).append(value)
    names = sorted(values, key=lambda name: name != objective)
    if all(0 <= value <= 1 for name in names for value in values[name]):
        return names[:MAX_METRICS]
    return names[:1]


def _draw_line(
    axes: Axes, reports: Sequence[EpochReport], values: Sequence[float | None], index: int, label: str
) -> None:
    points = [(report.epoch, value) for report, value in zip(reports, values, strict=True) if value is not None]
    size = 4.5 if len(points) <= MAX_MARKED_EPOCHS else 0.0
    draw_points(axes, points, **series_style(index), markersize=size, label=label_text(label))


def _finish_panel(axes: Axes, name: str) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel=label_text(name))
    if axes.lines:
        axes.legend(loc="best")
