"""Plots of learning-rate probes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from probe.lr.curve import mean_curve
from probe.lr.records import Confirmation, LrComparison, LrCurve, LrResult
from probe.report.lr.page import COMPARED_LRS_PLOT, LR_PLOT
from probe.report.lr.summary import comparison_rows, other_finders
from probe.report.shared.plots import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LIGHT,
    MAX_TITLE,
    ORANGE,
    PURPLE,
    Drawings,
    draw_points,
    label_text,
    new_figure,
    note,
    save_figure,
    ticks_at,
)
from probe.units import format_count, format_lr


def lr_plots(result: LrResult) -> Drawings:
    """The plots of the report of one probe."""
    return {LR_PLOT: partial(draw_lr, result)}


def lr_comparison_plots(result: LrComparison) -> Drawings:
    """The plots of the report of several probes."""
    return {COMPARED_LRS_PLOT: partial(draw_lr_comparison, result)}


def draw_lr(result: LrResult, path: Path, *, title: str = "LR range test") -> bool:
    """Draw loss against lr with the suggestion and other finders' picks; confirmation runs get a panel of their own."""
    curves = [curve for curve in result.curves if curve.points]
    if not curves:
        return False
    confirmed = result.confirmation is not None
    figure, panels = new_figure(2 if confirmed else 1, width=11.0 if confirmed else 7.0)
    _draw_range_test(panels[0], result, curves, title)
    if result.confirmation is not None:
        _draw_runs(panels[1], result, result.confirmation)
    save_figure(figure, path)
    return True


def draw_lr_comparison(result: LrComparison, path: Path) -> bool:
    """Draw the suggestion and good range of every result in a row. Returns False if no result has a suggestion."""
    names = [row[0] for row in comparison_rows(result)]
    found = [(name, one.suggestion) for name, one in zip(names, result.results, strict=True)]
    if all(suggestion is None for _, suggestion in found):
        return False
    figure, [axes] = new_figure(height=1.3 + 0.45 * len(found))
    for row, (_, suggestion) in enumerate(found):
        if suggestion is None:
            continue
        good = [suggestion.low, suggestion.high]
        axes.plot(good, [row, row], color=LIGHT, linewidth=9, solid_capstyle="butt", zorder=1)
        axes.plot(suggestion.lr, row, marker="D", color=BLUE, markersize=7, zorder=3)
        note(axes, format_lr(suggestion.lr), (suggestion.lr, row), (0, 8), ha="center", fontsize=9)
    ticks_at(axes.yaxis, range(len(found)), lambda row: label_text(names[round(row)], 24))
    axes.set_ylim(len(found) - 0.4, -0.7)
    lr_axis(axes)
    low = min(one.low for _, one in found if one is not None)
    high = max(one.high for _, one in found if one is not None)
    axes.set_xlim(low / 2, high * 2)
    axes.set_title("Suggested learning rate (diamond) and good range")
    save_figure(figure, path)
    return True


def _draw_range_test(axes: Axes, result: LrResult, curves: Sequence[LrCurve], title: str) -> None:
    mean = mean_curve(curves, result.ramp_steps or max(len(curve.points) for curve in curves))
    for curve in curves:
        raw = [point.loss for point in curve.points]
        axes.plot([point.lr for point in curve.points], raw, color=LIGHT, linewidth=0.8, zorder=2)
    axes.plot([], [], color=LIGHT, linewidth=0.9, label="raw losses" if len(curves) > 1 else "raw loss of each step")
    if len(curves) > 1:
        rows = _on_common_steps(curves, len(mean.lrs))
        lows, highs, label = np.nanmin(rows, 0), np.nanmax(rows, 0), "smoothed, all seeds"
        axes.fill_between(mean.lrs, lows, highs, color=BLUE, alpha=0.25, linewidth=0, label=label)
    label = f"mean of {len(curves)} smoothed" if len(curves) > 1 else "smoothed loss"
    marker = "o" if len(mean.lrs) == 1 else None
    axes.plot(mean.lrs, mean.losses, color=BLUE, linewidth=2.4, marker=marker, label=label, zorder=3)
    _mark_suggestion(axes, result)
    _mark_other_finders(axes, result, mean.lrs, mean.losses)
    lr_axis(axes)
    axes.set_xlim(*_lr_limits(result, curves))
    axes.set_ylim(*loss_limits(curves))
    axes.set_ylabel("training loss")
    axes.legend(loc="best" if result.suggestion is None else "lower left")
    axes.set_title(label_text(title, MAX_TITLE))


def _draw_runs(axes: Axes, result: LrResult, confirmation: Confirmation) -> None:
    """Draw the loss on unseen data against lr: as measured at the end of the runs, and as expected at the end of training."""
    measured = [(run.lr, run.evaluations[-1].loss) for run in confirmation.runs if run.finished and run.evaluations]
    expected = [(run.lr, run.expected_loss) for run in confirmation.runs if run.expected_loss is not None]
    failed = [run.lr for run in confirmation.runs if not run.finished]
    steps = format_count(confirmation.planned_steps)
    training_steps = format_count(result.training_steps or 0)
    draw_points(axes, measured, marker="o", color=ORANGE, label=f"measured after {steps} steps")
    label = f"expected after {training_steps} steps"
    draw_points(axes, expected, marker="s", linestyle="--", color=GREEN, label=label)
    axes.axhline(confirmation.initial_loss, color=GREY, linestyle=":", label="before training")
    for number, lr in enumerate(failed):
        axes.axvline(lr, color=PURPLE, linestyle="-.", label=None if number else "diverged")
    _mark_suggestion(axes, result)
    lr_axis(axes)
    losses = [loss for _, loss in (*measured, *expected) if loss <= 2 * abs(confirmation.initial_loss)]
    low, high = min(losses, default=0.0), max([*losses, confirmation.initial_loss])
    extent = high - low or abs(high) or 1.0  # a margin of 1 would vanish beside one huge loss
    axes.set_ylim(low - 0.08 * extent, high + 0.12 * extent)
    axes.set_ylabel("loss on unseen data")
    axes.legend(loc="best")
    axes.set_title("Runs at constant learning rates")


def _mark_suggestion(axes: Axes, result: LrResult) -> None:
    found = result.suggestion
    if found is None:
        return
    axes.axvspan(found.low, found.high, color="#000000", alpha=0.10, linewidth=0, zorder=1)
    label = f"suggested: {format_lr(found.lr)}\n(good from {format_lr(found.low)} to {format_lr(found.high)})"
    axes.axvline(found.lr, color=BLACK, linestyle="--", linewidth=1.5, label=label, zorder=4)


def _mark_other_finders(axes: Axes, result: LrResult, lrs: np.ndarray, losses: np.ndarray) -> None:
    """Mark the suggestions of other rules on the curve with hollow markers."""
    hollow: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": BLACK, "markersize": 7}
    for (name, lr), marker in zip(other_finders(result), "vso", strict=False):
        if lr is not None:
            loss = float(np.interp(np.log(lr), np.log(lrs), losses))
            axes.plot(lr, loss, marker, **hollow, label=f"{name}: {format_lr(lr)}", zorder=5)


def _on_common_steps(curves: Sequence[LrCurve], num_steps: int) -> np.ndarray:
    """Smoothed losses of shape (curves, steps), NaN after the end of a curve."""
    rows = np.full((len(curves), num_steps), np.nan)
    for row, curve in zip(rows, curves, strict=True):
        row[: len(curve.points)] = [point.smoothed_loss for point in curve.points]
    return rows


def lr_axis(axes: Axes) -> None:
    """Make the x axis logarithmic, with learning rates written as in all texts."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(base=10, numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda lr, _: format_lr(lr)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("learning rate")


def loss_limits(curves: Sequence[LrCurve]) -> tuple[float, float]:
    """Limits of the loss axis that show the fall and the start of the divergence. Always low < high.

    They cover the steps up to the smoothed minimum, including raw losses without their outer twentieths. If that minimum is
    in the first tenth, so that the loss does not fall, they cover the lower nine tenths of the curve instead.
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
    """The tested learning rates, up to the end of a curve or the good range, and at least one decade."""
    reached = max(curve.points[-1].lr for curve in curves)
    band = 0.0 if result.suggestion is None else result.suggestion.high
    return result.lowest_lr / 1.2, 1.2 * max(reached, band, 10 * result.lowest_lr)
