"""Plots of LR range tests: loss against learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from probe.lr.records import LrCurve, LrResult
from probe.report.style import BLACK, COLORS, LIGHT, LINES, color_of, new_figure, save_figure
from probe.units import format_lr


def draw_lr(result: LrResult, path: Path, *, title: str = "LR range test") -> bool:
    """Raw loss (thin, light) and smoothed loss (thick) against lr, the suggestion marked. Returns False without a point."""
    curves = [curve for curve in result.curves if curve.points]
    if not curves:
        return False
    figure, [axes] = new_figure()
    for index, curve in enumerate(curves):
        _draw_curve(axes, curve, index, label=f"seed {curve.seed}, smoothed" if len(curves) > 1 else "smoothed loss")
    raw = "raw losses" if len(curves) > 1 else "raw loss of each step"
    axes.plot([], [], color=LIGHT, linewidth=0.9, label=raw)
    found = result.suggestion
    if found is not None:
        axes.axvspan(found.low, found.high, color="#000000", alpha=0.10, linewidth=0, zorder=1)
        label = f"suggested: {format_lr(found.lr)}\n(band {format_lr(found.low)} to {format_lr(found.high)})"
        axes.axvline(found.lr, color=BLACK, linestyle="--", linewidth=1.5, label=label, zorder=4)
    axes.set_xscale("log")
    axes.set_xlim(*_lr_limits(result, curves))
    axes.xaxis.set_major_locator(LogLocator(base=10, numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda lr, _: format_lr(lr)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(*loss_limits(curves))
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.legend(loc="best" if found is None else "lower left")
    axes.set_title(title)
    save_figure(figure, path)
    return True


def loss_limits(curves: Sequence[LrCurve]) -> tuple[float, float]:
    """Limits of the loss axis that show the fall and the beginning of the blow-up, however high that goes.

    They are taken from the steps up to the smoothed minimum, raw losses without their outer twentieths included; where that
    comes in the first tenth, so that there is no fall, from the lower nine tenths of the curve. Always low < high.
    """
    lows, highs = [], []
    for curve in curves:
        smoothed = [point.smoothed_loss for point in curve.points]
        num_points = len(smoothed)
        falling = smoothed.index(min(smoothed)) + 1
        kept = curve.points[:falling]
        if falling <= 0.1 * num_points:
            kept = tuple(sorted(curve.points, key=lambda point: point.smoothed_loss)[: max(1, round(0.9 * num_points))])
        raw = sorted(point.loss for point in kept)
        cut = len(raw) // 20
        lows.append(min(raw[cut], *(point.smoothed_loss for point in kept)))
        highs.append(max(raw[-1 - cut], *(point.smoothed_loss for point in kept)))
    low, high = min(lows), max(highs)
    span = (high - low) or abs(high) or 1.0
    return low - 0.08 * span, high + 0.3 * span


def _lr_limits(result: LrResult, curves: Sequence[LrCurve]) -> tuple[float, float]:
    """What was tested, as far as a curve or the band reaches, and at least a decade of it."""
    reached = max(curve.points[-1].lr for curve in curves)
    band = 0.0 if result.suggestion is None else result.suggestion.high
    return result.lowest_lr / 1.2, 1.2 * max(reached, band, 10 * result.lowest_lr)


def _draw_curve(axes: Axes, curve: LrCurve, index: int, *, label: str) -> None:
    lrs = [point.lr for point in curve.points]
    color = color_of(index)
    line = LINES[(index // len(COLORS) + index) % len(LINES)]
    axes.plot(lrs, [point.loss for point in curve.points], color=color, alpha=0.35, linewidth=0.9, zorder=2)
    smoothed = [point.smoothed_loss for point in curve.points]
    marker = "o" if len(lrs) == 1 else None
    axes.plot(lrs, smoothed, color=color, linestyle=line, linewidth=2.4, marker=marker, label=label, zorder=3)
