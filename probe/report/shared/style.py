"""How every plot looks. Figures are plain objects: pyplot, with its global state, is never imported."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from PIL import Image

from probe.files import write_bytes
from probe.units import format_gpu_memory

# Okabe & Ito's palette, which people with any colour vision can tell apart, ordered so that neighbors also differ in grey.
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
_DOTS_PER_INCH = 130
_MAX_BYTE_TICKS = 9


@contextmanager
def plot_style() -> Iterator[None]:
    """Our style whatever the user's matplotlibrc says; theirs is back in force afterwards."""
    with matplotlib.style.context(["default", _STYLE]):
        yield


def new_figure(num_columns: int = 1, *, width: float = 7.0, height: float = 3.8) -> tuple[Figure, list[Axes]]:
    """A figure of `width` by `height` inches with a row of axes; sizes include labels, which are never cut."""
    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots(1, num_columns, squeeze=False)
    return figure, list(axes[0])


def save_figure(figure: Figure, path: Path, *, num_colors: int = 128) -> None:
    """Write a PNG whose bytes depend on the figure only: no date, no version. Raises OutputError.

    A palette of 128 colors is a third of the size of full color and looks the same in a line plot; `num_colors` may be fewer
    for a thicket of lines.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that matplotlib's font lacks is drawn as boxes; report.md has it in full.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 1})
    picture = Image.open(buffer).convert("RGB")
    picture = picture.quantize(num_colors, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    write_bytes(path, buffer.getvalue())


def ticks_at(axes: Axes, values: list[float], label: Callable[[float], str]) -> None:
    """Ticks of the x axis at these values and nowhere else: for batch sizes and rungs."""
    axes.xaxis.set_major_locator(FixedLocator(values))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))


def byte_ticks(axes: Axes, lowest: float, highest: float) -> None:
    """A y axis in bytes, logarithmic, with ticks at powers of two, a whole number of them apart."""
    first, last = int(lowest).bit_length() - 1, int(highest).bit_length()
    apart = -(-(last - first + 1) // _MAX_BYTE_TICKS)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_locator(FixedLocator([float(2**power) for power in range(first, last + 1, apart)]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_gpu_memory(round(value))))


def color_of(index: int) -> str:
    return COLORS[index % len(COLORS)]
