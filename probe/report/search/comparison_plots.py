"""The plot of searches compared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from probe.report.search.comparison import COMPARED_SEARCHES_PLOT, has_groups, mean_curve
from probe.report.shared.plots import Drawings, label_text, new_figure, save_figure, series_style, value_limits
from probe.report.shared.wording import objective_text
from probe.search.records.comparison import SearchComparison

MAX_LINES = 12
_MAX_NAME = 40


def compare_plots(result: SearchComparison) -> Drawings:
    """The plots of the report."""
    return {COMPARED_SEARCHES_PLOT: partial(draw_search_comparison, result)}


def draw_search_comparison(result: SearchComparison, path: Path) -> bool:
    """Draw the best value so far against the epochs spent, a line for each group and a band over its runs."""
    curves = [(group, curve) for group in result.groups if (curve := mean_curve(result, group)) is not None]
    if not curves or len(curves) > MAX_LINES:
        return False
    figure, [axes] = new_figure(height=4.4)
    for index, (group, curve) in enumerate(curves):
        style = series_style(index) | {"marker": None}
        color = style["color"]
        label = label_text(group.title, _MAX_NAME) + (f" ({group.num_runs} runs)" if group.num_runs > 1 else "")
        axes.plot(curve.epochs, curve.means, drawstyle="steps-post", **style, label=label, zorder=3)
        axes.plot(curve.epochs[-1], curve.means[-1], marker="o", color=color, zorder=4)
        if group.num_runs > 1:
            band = {"color": color, "alpha": 0.13, "linewidth": 0, "zorder": 2}
            axes.fill_between(curve.epochs, curve.lows, curve.highs, step="post", **band)
    axes.set_ylim(*_limits([(curve.means, curve.lows, curve.highs) for _, curve in curves], result.mode))
    axes.set_xlim(0, max(curve.epochs[-1] for _, curve in curves) * 1.03 or 1)
    axes.set(xlabel="epochs spent (probes included)", ylabel=label_text(f"best {objective_text(result.metric)} so far"))
    axes.legend(loc="lower right" if result.mode == "max" else "upper right")
    bands = ": means, bands from the worst to the best run" if has_groups(result) else ""
    axes.set_title(f"Searches compared{bands}")
    save_figure(figure, path)
    return True


def _limits(curves: Sequence[tuple[Sequence[float], ...]], mode: str) -> tuple[float, float]:
    """Limits that give a third of the height to the final values, which early values far below would flatten."""
    ends = [values[-1] for columns in curves for values in columns]
    everything = [value for columns in curves for values in columns for value in values]
    span = max(ends) - min(ends)
    if not span:
        return value_limits(everything, mode)
    if mode == "max":
        return value_limits([max(ends), max(min(everything), min(ends) - 2 * span)], mode)
    return value_limits([min(ends), min(max(everything), max(ends) + 2 * span)], mode)
