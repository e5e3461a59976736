"""The plot of batch sizes compared."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from probe.batch.decide import timed_by_size
from probe.batch.records import BatchComparison, Variant
from probe.report.batch.comparison import COMPARISON_PLOT, SPEED_PLOT, is_predicted, sample_noun, short_names
from probe.report.batch.speed import is_launch_bound, only_mode_differs, rate_at_recommended
from probe.report.shared.plots import (
    BLUE,
    GREY,
    ORANGE,
    Drawings,
    draw_points,
    label_text,
    new_figure,
    note,
    powers_of_two,
    save_figure,
    series_style,
    ticks_at,
)
from probe.report.shared.wording import plural
from probe.units import format_count, format_gpu_memory

_MAX_VARIANTS = 24
_MAX_LINES = 8
_MAX_NAME = 32


def comparison_plots(result: BatchComparison) -> Drawings:
    """The plots of the report."""
    return {COMPARISON_PLOT: partial(draw_comparison, result), SPEED_PLOT: partial(draw_speed, result)}


def draw_comparison(result: BatchComparison, path: Path) -> bool:
    """Draw largest and recommended sizes next to the throughput; if nothing was measured, the largest against GPU memory."""
    if is_predicted(result):
        return _draw_gpus(result, path)
    names = [label_text(name, _MAX_NAME) for name in short_names(result)]
    rates = [rate_at_recommended(variant) for variant in result.variants]
    answered = [variant for variant in result.variants if variant.result.largest_fit is not None]
    if not 2 <= len(result.variants) <= _MAX_VARIANTS or len(answered) < 2:
        return False
    rows = list(range(len(names)))
    figure, [left, right] = new_figure(2, height=1.5 + 0.34 * len(names), width=8.0)
    _plot_sizes(left, result.variants)
    right.barh(rows, [rate or 0.0 for rate in rates], height=0.55, color=BLUE)
    for row, rate in enumerate(rates):
        missing = "nothing fits" if result.variants[row].failure is None else "error"
        text = missing if rate is None else format_count(rate)
        note(right, text, (rate or 0.0, row), (4, 0), va="center", fontsize=8)
    right.set_xlim(0, 1.22 * max(rate or 0.0 for rate in rates))
    right.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_count(value)))
    right.xaxis.set_major_locator(MaxNLocator(5))
    right.set_title(f"{sample_noun(result).capitalize()}/s at the recommended size")
    for axes in (left, right):
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
    ticks_at(left.yaxis, rows, lambda row: names[round(row)] if row in rows else "")
    ticks_at(right.yaxis, rows, lambda _: "")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    save_figure(figure, path)
    return True


def draw_speed(result: BatchComparison, path: Path) -> bool:
    """Draw a throughput curve for each variant that does the same work, and the data loader's throughput."""
    curves = {v.mode: timed for v in result.variants if len(timed := timed_by_size(v.result.attempts)) > 1}
    if len(curves) < 2 or len(curves) > _MAX_LINES or not only_mode_differs(result):
        return False
    figure, [axes] = new_figure(width=8.0)
    for index, (name, timed) in enumerate(curves.items()):
        points = [(size, attempt.samples_per_second or 0.0) for size, attempt in timed.items()]
        style = series_style(index)
        draw_points(axes, points, **style, label=name)
        waiting = [point for point, attempt in zip(points, timed.values(), strict=True) if is_launch_bound(attempt)]
        hollow = {"marker": style["marker"], "color": style["color"], "markerfacecolor": "white", "linestyle": "none"}
        draw_points(axes, waiting, **hollow, zorder=4)
    for speed, line in zip(result.loader, ("--", ":"), strict=False):
        if speed.samples_per_second is not None:
            label = f"data loader, {plural(speed.num_workers, 'worker') if speed.num_workers else 'no workers'}"
            axes.axhline(speed.samples_per_second, color=GREY, linestyle=line, linewidth=1.4, label=label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_count(value)))
    sizes = [size for timed in curves.values() for size in timed]
    ticks_at(axes.xaxis, powers_of_two(min(sizes), max(sizes), 12), format_count)
    axes.set(xlabel="batch size", ylabel="samples per second")
    axes.set_title("Throughput against batch size")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    save_figure(figure, path)
    return True


def _plot_sizes(axes: Axes, variants: tuple[Variant, ...]) -> None:
    """Draw batch sizes on an axis of powers of two: a dot for the largest, a diamond for the recommended one."""
    largest = [(v.result.largest_fit, row) for row, v in enumerate(variants) if v.result.largest_fit is not None]
    chosen = [(v.result.recommended, row) for row, v in enumerate(variants) if v.result.recommended is not None]
    axes.set_xscale("log", base=2)
    starts = {row: size for size, row in chosen}
    for size, row in largest:
        axes.plot([starts.get(row, size), size], [row, row], color=GREY, linewidth=1.2, zorder=2)
        note(axes, format_count(size), (size, row), (7, 0), va="center", fontsize=8)
    draw_points(axes, largest, marker="o", linestyle="none", color=BLUE, label="largest", zorder=5)
    diamond = {"marker": "D", "markersize": 9, "markerfacecolor": "white", "markeredgewidth": 1.8, "color": ORANGE}
    draw_points(axes, chosen, **diamond, linestyle="none", label="recommended", zorder=3)
    sizes = [size for size, _ in (*largest, *chosen)]
    ticks_at(axes.xaxis, powers_of_two(min(sizes), max(sizes), 8), format_count)
    axes.set_xlim(min(sizes) / 1.5, max(sizes) * 2.2)
    axes.set_title("Batch size")


def _draw_gpus(result: BatchComparison, path: Path) -> bool:
    """Draw one line per variant over the memory of the GPUs."""
    names = short_names(result)
    gpus = sorted({p.memory_bytes for variant in result.variants for p in variant.result.predictions})
    if len(gpus) < 2 or not 1 <= len(result.variants) <= _MAX_LINES:
        return False
    figure, [axes] = new_figure(height=4.2, width=8.0)
    sizes: list[int] = []
    for index, (name, variant) in enumerate(zip(names, result.variants, strict=True)):
        points = [(p.memory_bytes, p.largest_fit) for p in variant.result.predictions if p.largest_fit is not None]
        sizes += [size for _, size in points]
        axes.plot(
            [memory for memory, _ in points],
            [size for _, size in points],
            **series_style(index),
            label=label_text(name, _MAX_NAME),
        )
    if not sizes:
        return False
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    ticks_at(axes.xaxis, gpus, lambda value: format_gpu_memory(round(value)).replace(" ", "\n"))
    powers = powers_of_two(min(sizes), max(sizes), 10)
    ticks_at(axes.yaxis, powers, format_count)
    axes.set_ylim(powers[0] / 1.4, 2 ** (max(sizes).bit_length() - 1) * 1.4)
    axes.set(xlabel="GPU memory", ylabel="largest batch that should fit")
    axes.set_title("Predicted: largest batch for each GPU (not measured)")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    save_figure(figure, path)
    return True
