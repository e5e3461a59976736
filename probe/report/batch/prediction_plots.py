"""The plot of predicted memory, where nothing was measured: the curve and the cards that it crosses."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes

from probe.batch.records import BatchResult
from probe.report.shared.style import BLACK, BLUE, GREY, LIGHT, ORANGE, byte_ticks, new_figure, save_figure, ticks_at
from probe.units import format_count, format_gpu_memory

_MAX_X_TICKS = 12


def draw_predicted_memory(result: BatchResult, path: Path) -> bool:
    """Predicted memory against batch size, both in powers of two, with a labelled line for each card.

    Returns False where there are fewer than two points or no cards.
    """
    curve = result.prediction_info.curve if result.prediction_info is not None else ()
    if len(curve) < 2 or not result.predictions or any(point.allocated_bytes < 1 for point in curve):
        return False
    figure, [axes] = new_figure(height=5.0)
    sizes = [point.batch_size for point in curve]
    axes.plot(
        sizes, [point.allocated_bytes for point in curve], color=LIGHT, linestyle="--", label="predicted: tensors"
    )
    axes.plot(sizes, [point.peak_bytes for point in curve], color=BLUE, label="predicted: taken of the card", zorder=3)
    axes.set_xscale("log", base=2)
    _cards(axes, result)
    fitting = [(p.largest_fit, p.peak_bytes) for p in result.predictions if p.largest_fit is not None]
    if fitting:
        axes.plot(
            [size for size, _ in fitting],
            [peak for _, peak in fitting],
            marker="o",
            linestyle="none",
            color=ORANGE,
            label="largest that should fit",
            zorder=4,
        )
    lowest = min(point.allocated_bytes for point in curve)
    highest = max(*(p.memory_bytes for p in result.predictions), *(point.peak_bytes for point in curve))
    axes.set_ylim(lowest / 1.5, highest * 1.5)
    byte_ticks(axes, lowest, highest)
    ticks_at(axes, [float(size) for size in sizes[:: -(-len(sizes) // _MAX_X_TICKS)]], format_count)
    axes.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.3)
    axes.set_xlabel("batch size")
    axes.set_ylabel("memory")
    axes.legend(loc="lower right")
    axes.set_title("Predicted memory against batch size (nothing was run)")
    save_figure(figure, path)
    return True


def _cards(axes: Axes, result: BatchResult) -> None:
    """A line for each card, named at its right end, outside the axes."""
    for prediction in result.predictions:
        axes.axhline(prediction.memory_bytes, color=GREY, linewidth=0.8, zorder=2)
        axes.annotate(
            format_gpu_memory(prediction.memory_bytes),
            (1.0, prediction.memory_bytes),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=BLACK,
        )
