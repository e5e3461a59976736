"""Parallel coordinates: every trial a line through its hyperparameters to its value."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes

from probe.report.search.parallel_axes import ABSENT, ParallelAxis, parallel_layout
from probe.report.shared.markdown import shorten
from probe.report.shared.style import BLACK, BLUE, GREY, LIGHT, ORANGE, new_figure, save_figure
from probe.search.records.search import SearchResult

INCHES_PER_AXIS = 1.15
MAX_NAME = 16
NUM_COLORS = 24
_THIRDS = ((BLUE, "-", 1.3, "best third"), (GREY, "--", 1.0, "middle"), (LIGHT, "-", 0.9, "worst third"))
"""Told apart by darkness and dashes, so that a print in black and white reads the same."""


def draw_parallel(result: SearchResult, path: Path) -> bool:
    """Returns False, and leaves no file, with fewer than two trials that have a value."""
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
    axes.plot(
        xs,
        won.positions,
        color=ORANGE,
        linewidth=3.0,
        marker="o",
        markersize=7,
        markeredgecolor=BLACK,
        zorder=6,
        label=f"the winner, trial {won.number}",
    )
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
    which = "Every trial" if drawn == all_trials else f"{drawn} of {all_trials} trials, evenly over their ranks"
    axes.set_title(f"{which}: hyperparameters and value", pad=26)
    save_figure(figure, path, num_colors=NUM_COLORS)
    return True


def _draw_axis(axes: Axes, x: int, axis: ParallelAxis, *, labels_right: bool) -> None:
    axes.plot([x, x], [0, 1], color=BLACK, linewidth=1.1, zorder=5)
    name = shorten(axis.name, MAX_NAME) if " " not in axis.name else axis.name.replace(" ", "\n", 1)
    axes.text(x, 1.05, name, ha="center", va="bottom", fontsize=9, fontweight="bold")
    ticks = [*axis.ticks, *([(ABSENT, "none")] if axis.has_absent else [])]
    for y, label in ticks:
        axes.plot([x - 0.03, x + 0.03], [y, y], color=BLACK, linewidth=1.0, zorder=5)
        axes.text(
            x + 0.1 if labels_right else x - 0.06,
            y,
            shorten(label, 14) if "\n" not in label else label,
            ha="left" if labels_right else "right",
            va="center",
            fontsize=8,
            zorder=7,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
        )
