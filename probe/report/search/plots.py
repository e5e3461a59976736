"""Plots of a search: its history, learning curves of the best and of all trials, importance."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from probe.report.batch.plots import batch_plots
from probe.report.lr.plots import draw_lr
from probe.report.search.figures import History, by_importance, history, objective_curve, winner
from probe.report.search.page import (
    ALL_CURVES_PLOT,
    BATCH_PREFIX,
    HISTORY_PLOT,
    IMPORTANCE_PLOT,
    PARALLEL_PLOT,
    WINNER_PLOT,
    lr_plot_files,
)
from probe.report.search.parallel_plot import draw_parallel
from probe.report.shared.plots import (
    BLACK,
    BLUE,
    GREY,
    LIGHT,
    ORANGE,
    Drawings,
    draw_curves,
    draw_points,
    label_text,
    new_figure,
    num_hidden,
    save_figure,
    ticks_at,
    value_limits,
)
from probe.report.shared.wording import objective_text
from probe.search.records.search import Importance, SearchResult
from probe.units import format_percent

MAX_IMPORTANCE_BARS = 15


def search_plots(result: SearchResult) -> Drawings:
    """The plots of the report, including those of the probes."""
    drawings: Drawings = {
        HISTORY_PLOT: partial(draw_history, result),
        WINNER_PLOT: partial(draw_winner, result),
        ALL_CURVES_PLOT: partial(draw_all_curves, result),
        IMPORTANCE_PLOT: partial(draw_importance, result),
        PARALLEL_PLOT: partial(draw_parallel, result),
    }
    if result.batch_probe is not None:
        drawings |= batch_plots(result.batch_probe, prefix=BATCH_PREFIX)
    for (optimizer, probe), file in zip(result.lr_probes.items(), lr_plot_files(result), strict=True):
        title = f"LR range test, {optimizer}" if optimizer else "LR range test"
        drawings[file] = partial(draw_lr, probe, title=title)
    return drawings


def draw_history(result: SearchResult, path: Path) -> bool:
    """Draw the value of each trial at the epochs spent so far, and the best value so far. Returns False without any trial."""
    past = history(result)
    if not past.trials:
        return False
    figure, [axes] = new_figure(height=4.0)
    _plot_values(axes, past)
    steps = [(x, value) for x, value in zip(past.ends, past.best, strict=True) if value is not None]
    steps += [(past.ends[-1], value) for _, value in steps[-1:]]
    draw_points(axes, steps, drawstyle="steps-post", color=ORANGE, linewidth=2.2, label="best so far", zorder=4)
    without = [(x, 0.0) for x, trial in zip(past.ends, past.trials, strict=True) if trial.value is None]
    cross: dict[str, Any] = {"marker": "x", "markeredgewidth": 2, "linestyle": "none", "color": BLACK}
    at_bottom = axes.get_xaxis_transform()
    draw_points(axes, without, **cross, transform=at_bottom, label="no value", clip_on=False, zorder=5)
    values = [trial.value for trial in past.trials if trial.value is not None]
    if values:
        axes.set_ylim(*value_limits(values, result.mode))
        _note_hidden(axes, num_hidden(values, result.mode), result.mode)
    else:
        axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    probes = " (probes first)" if result.spent.probe_epochs else ""
    axes.set(
        xlabel=f"epochs spent, trials one after the other{probes}", ylabel=label_text(objective_text(result.metric))
    )
    axes.set_xlim(0, max(past.ends) * 1.03 or 1)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4)
    axes.set_title("History of the search")
    save_figure(figure, path)
    return True


def _plot_values(axes: Axes, past: History) -> None:
    """A marker for the value of each trial, by its status."""
    shown = [
        ("complete", "o", BLUE, BLUE, "complete"),
        ("stopped", "v", "none", GREY, "stopped early"),
        ("timeout", ">", "none", GREY, "out of time"),
    ]
    for status, marker, face, edge, label in shown:
        points = [
            (x, trial.value)
            for x, trial in zip(past.ends, past.trials, strict=True)
            if trial.status == status and trial.value is not None
        ]
        style: dict[str, Any] = {"markerfacecolor": face, "markeredgecolor": edge, "linestyle": "none"}
        draw_points(axes, points, marker=marker, label=label, zorder=3, **style)


def draw_winner(result: SearchResult, path: Path) -> bool:
    """Draw losses and metrics of the best trial and the final training. Returns False if the best trial has no reports."""
    won = winner(result)
    if won is None:
        return False
    final = result.final.reports if result.final is not None else ()
    return draw_curves(won.reports, path, title=f"Best trial ({won.number})", metric=result.metric, final=final)


def draw_all_curves(result: SearchResult, path: Path) -> bool:
    """Draw the objective of every trial by epoch, the best trial in bold. Returns False if nothing was reported."""
    curves = [(trial, curve) for trial in result.trials if (curve := objective_curve(result, trial))]
    if not curves:
        return False
    best = None if result.best is None else result.best.number
    figure, [axes] = new_figure()
    for trial, curve in curves:
        if trial.number != best:
            axes.plot(*zip(*curve, strict=True), color=LIGHT, linewidth=1.0, zorder=2)
            marker = "o" if trial.status == "complete" else "v"  # as in the history
            axes.plot(*curve[-1], marker=marker, markerfacecolor="white", color=GREY, markersize=5, zorder=2)
    for trial, curve in curves:
        if trial.number == best:
            axes.plot(*zip(*curve, strict=True), color=ORANGE, linewidth=2.6, marker="o", label="best trial", zorder=4)
    last = max(epoch for _, curve in curves for epoch, _ in curve)
    rungs = [float(rung) for rung in result.rungs if result.rung_unit == "epochs" and rung <= last]
    for index, rung in enumerate(rungs):
        axes.axvline(rung, color=GREY, linestyle=":", linewidth=1.1, label="rungs" if index == 0 else None, zorder=1)
    axes.plot([], [], color=LIGHT, linewidth=1.0, label="other trials")
    axes.plot([], [], color=GREY, marker="v", markerfacecolor="white", markersize=5, linestyle="none", label="stopped")
    if last >= 8 and len(rungs) > 1:
        axes.set_xscale("log")
        ticks_at(axes.xaxis, sorted({1.0, *rungs, float(last)}), lambda value: f"{value:.0f}")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    ends = [curve[-1][1] for _, curve in curves]
    low, high = value_limits(ends, result.mode)
    bold = [value for trial, curve in curves if trial.number == best for _, value in curve]
    low, high = min([low, *bold]), max([high, *bold])
    axes.set_ylim(low, high)
    _note_hidden(axes, sum(not low <= end <= high for end in ends), result.mode)
    axes.set(xlabel="epoch", ylabel=label_text(objective_text(result.metric)))
    axes.legend(loc="lower right" if result.mode == "max" else "upper right")
    axes.set_title("Learning curves of all trials")
    save_figure(figure, path)
    return True


def draw_importance(result: SearchResult, path: Path) -> bool:
    """Draw importance as horizontal bars, the largest on top. Returns False if no hyperparameter stands out."""
    shown = by_importance(result)[:MAX_IMPORTANCE_BARS]
    if not shown:
        return False
    figure, [axes] = new_figure(height=1.1 + 0.34 * len(shown))
    values = [found.share for _, found in shown]
    bars = axes.barh(range(len(shown)), values, color=BLUE, height=0.62, zorder=3)
    for bar, (_, found) in zip(bars, shown, strict=True):
        if found.is_partial:  # of fewer trials, so its length does not add up with the others
            bar.set(facecolor="none", edgecolor=BLUE, hatch="///")
    axes.bar_label(bars, labels=[format_percent(value, decimals=0) for value in values], padding=4, fontsize=9)
    axes.set_yticks(range(len(shown)), [_trials_label(name, found) for name, found in shown])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, 1.18 * max(*values, 1e-9))
    axes.xaxis.set_major_formatter(lambda value, _: format_percent(value, decimals=0))
    axes.set_xlabel("fraction of the variation of the ranks among the trials that have it")
    axes.set_title("Importance of the hyperparameters")
    save_figure(figure, path)
    return True


def _trials_label(name: str, found: Importance) -> str:
    trials = f"\n({found.num_trials} of {found.num_compared} trials)" if found.is_partial else ""
    return f"{label_text(name)}{trials}"


def _note_hidden(axes: Axes, count: int, mode: str) -> None:
    """Write at the end of the axis how many values its limits cut off."""
    if count:
        trials = "trial ends" if count == 1 else "trials end"
        where, y, side = ("below", 0.02, "bottom") if mode == "max" else ("above", 0.98, "top")
        text = f"{count} {trials} {where} the shown range"
        axes.text(0.01, y, text, transform=axes.transAxes, va=side, fontsize=8, style="italic", color=GREY)
