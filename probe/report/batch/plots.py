"""Plots of a batch probe: throughput and memory against batch size, measured or predicted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from probe.batch.decide import timed_by_size
from probe.batch.prediction_records import PredictedPeak
from probe.batch.records import MEMORY_OUTCOMES, Attempt, BatchResult
from probe.report.batch.figures import best_throughput, taken_bytes
from probe.report.batch.page import MEMORY_PLOT, THROUGHPUT_PLOT
from probe.report.shared.plots import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LIGHT,
    ORANGE,
    Drawings,
    byte_ticks,
    draw_points,
    new_figure,
    note,
    save_figure,
    ticks_at,
)
from probe.units import byte_unit, format_bytes, format_count, format_gpu_memory, format_value

_DOUBLINGS_BEYOND = 3
"""A prediction is drawn up to so many doublings of the largest size tried."""
_MAX_TICKS = 12
_FLAT = 10
"""The memory axis is logarithmic if the limit is more than this many times the largest peak."""


def batch_plots(result: BatchResult, *, prefix: str = "") -> Drawings:
    """The plots of the report; their files start with `prefix`."""
    if result.stopped_by == "predicted":
        return {f"{prefix}{MEMORY_PLOT}": partial(draw_predicted_memory, result)}
    return {
        f"{prefix}{THROUGHPUT_PLOT}": partial(draw_throughput, result),
        f"{prefix}{MEMORY_PLOT}": partial(draw_memory, result),
    }


def draw_throughput(result: BatchResult, path: Path) -> bool:
    """Draw samples per second against batch size, mark the recommended size. Returns False if fewer than two were timed."""
    timed = timed_by_size(result.attempts)
    if len(timed) < 2:
        return False
    figure, [axes] = new_figure()
    sizes, rates = list(timed), [_rate(attempt) for attempt in timed.values()]
    axes.plot(sizes, rates, marker="o", color=BLUE, label="measured", zorder=3)
    best = best_throughput(result.attempts)
    axes.axhline(0.95 * best, color=GREY, linestyle=":", linewidth=1.2, label="5 % below the best")
    if result.recommended in timed:
        label = f"recommended: {format_count(result.recommended)}"
        diamond = {"marker": "D", "markersize": 11, "markerfacecolor": "none", "markeredgewidth": 2, "color": ORANGE}
        place = (result.recommended, _rate(timed[result.recommended]))
        draw_points(axes, [place], **diamond, linestyle="none", label=label, zorder=4)
    axes.set_ylim(0, 1.12 * max(rates))
    axes.set_ylabel("samples per second")
    axes.yaxis.set_major_formatter(lambda value, _: format_count(value))
    _batch_axis(axes, sizes)
    axes.legend(loc="lower right")
    axes.set_title("Throughput against batch size")
    save_figure(figure, path)
    return True


def draw_memory(result: BatchResult, path: Path) -> bool:
    """Draw predicted and measured peak memory against batch size, the limit, and the sizes that failed; at least two sizes."""
    known = [(a.batch_size, a.memory) for a in reversed(result.attempts) if a.fits and a.memory is not None]
    measured = dict(sorted(known, key=lambda item: item[1].peak_reserved_bytes))  # the worst of several runs counts
    failed = sorted({a.batch_size for a in result.attempts if not a.fits} - set(measured))
    sizes = sorted(measured)
    allocated = [measured[size].peak_allocated_bytes for size in sizes]
    taken = [taken_bytes(result, measured[size].peak_reserved_bytes) for size in sizes]
    top = max([*taken, result.limit_bytes or 0], default=0)
    if top == 0 or len(measured) + len(failed) < 2:
        return False
    tried = [*measured, *failed]
    figure, [axes] = new_figure()
    if sizes:
        if taken != allocated:
            label = "reserved" if result.device_memory is None else "reserved + CUDA context"
            axes.plot(sizes, taken, marker="s", color=GREEN, label=f"peak {label}")
        axes.plot(sizes, allocated, marker="o", color=BLUE, label="peak allocated")
    predicted = _predicted_points(result, tried)
    top = max(top, _plot_prediction(axes, predicted, 4 * top if not sizes else top))
    if result.limit_bytes is not None:
        axes.axhline(result.limit_bytes, color=BLACK, linewidth=1.4, label=f"limit: {format_bytes(result.limit_bytes)}")
    floor = _memory_axis(axes, [size for size in (*allocated, *taken) if size > 0], top)
    _mark_failures(axes, result, failed, result.limit_bytes or max(taken), floor)
    _batch_axis(axes, [*tried, *(point.batch_size for point in predicted)])
    # The upper left corner is free except for the line of the limit, since memory grows to the right.
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0.84))
    axes.set_title("Memory against batch size")
    save_figure(figure, path)
    return True


def _predicted_points(result: BatchResult, sizes: Sequence[int]) -> list[PredictedPeak]:
    """The predictions for the sizes tried and, for a few doublings, up to the first size above the limit."""
    curve = result.prediction_info.curve if result.prediction_info is not None else ()
    points: list[PredictedPeak] = []
    for point in curve:
        passed = bool(points) and points[-1].peak_bytes > (result.limit_bytes or 0)
        most = max(sizes) if passed else max(sizes) << _DOUBLINGS_BEYOND
        if min(sizes) <= point.batch_size <= most:
            points.append(point)
    return points


def _plot_prediction(axes: Axes, points: Sequence[PredictedPeak], most: int) -> int:
    """Draw dashed and dotted lines. Returns the height of the highest point below `most`, or 0."""
    lines = [("predicted: allocated", ":", [point.allocated_bytes for point in points])]
    if any(point.peak_bytes != point.allocated_bytes for point in points):
        lines.append(("predicted: used of the device", "--", [point.peak_bytes for point in points]))
    shown = [line for line in lines if line[2] and min(line[2]) <= most]
    for label, style, heights in shown:
        x = [point.batch_size for point in points]
        axes.plot(x, heights, color=GREY, linestyle=style, linewidth=1.3, label=label, zorder=3)
    return min(most, max((max(heights) for _, _, heights in shown), default=0))


def _memory_axis(axes: Axes, peaks: Sequence[int], top: int) -> float:
    """Start the axis at 0, or use powers of two if the limit would flatten the measurements. Returns its lower end."""
    axes.set_ylabel("memory")
    if peaks and max(peaks) * _FLAT < top:
        floor = min(peaks) / 1.5
        byte_ticks(axes, min(peaks), top)
        axes.set_ylim(floor, 1.6 * top)
        return floor
    unit, scale = byte_unit(top)
    axes.set_ylim(0, 1.15 * top)
    steps = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(0, 1.15 * top / scale)
    axes.yaxis.set_major_locator(FixedLocator([float(step * scale) for step in steps if step * scale <= 1.15 * top]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{format_value(value / scale)}"))
    axes.set_ylabel(f"memory ({unit})")
    return 0.0


def _mark_failures(axes: Axes, result: BatchResult, sizes: Sequence[int], height: float, floor: float) -> None:
    """Draw crosses at the limit for sizes that ran out of memory, pluses at the bottom for other failures."""
    outcomes = {attempt.batch_size: attempt.outcome for attempt in result.attempts if not attempt.fits}
    short = [size for size in sizes if outcomes[size] in MEMORY_OUTCOMES]
    other = [size for size in sizes if outcomes[size] not in MEMORY_OUTCOMES]
    for group, y, marker, label in ((short, height, "x", "out of memory"), (other, floor, "P", "failed otherwise")):
        style = {"marker": marker, "markersize": 9, "markeredgewidth": 2.2, "color": ORANGE, "label": label}
        draw_points(axes, [(size, y) for size in group], **style, linestyle="none", zorder=4, clip_on=False)


def draw_predicted_memory(result: BatchResult, path: Path) -> bool:
    """Draw predicted memory against batch size, both in powers of two, with a labelled line for each GPU."""
    curve = result.prediction_info.curve if result.prediction_info is not None else ()
    if len(curve) < 2 or not result.predictions or any(point.allocated_bytes < 1 for point in curve):
        return False
    figure, [axes] = new_figure(height=5.0)
    sizes = [point.batch_size for point in curve]
    tensors = [point.allocated_bytes for point in curve]
    axes.plot(sizes, tensors, color=LIGHT, linestyle="--", label="predicted: tensors")
    axes.plot(sizes, [point.peak_bytes for point in curve], color=BLUE, label="predicted: used of the GPU", zorder=3)
    _gpu_lines(axes, result)
    fitting = [(p.largest_fit, p.peak_bytes) for p in result.predictions if p.largest_fit is not None]
    label = "largest that should fit"
    draw_points(axes, fitting, marker="o", linestyle="none", color=ORANGE, label=label, zorder=4)
    lowest = min(tensors)
    highest = max(*(p.memory_bytes for p in result.predictions), *(point.peak_bytes for point in curve))
    axes.set_ylim(lowest / 1.5, highest * 1.5)
    byte_ticks(axes, lowest, highest)
    _batch_axis(axes, sizes, margin=1.3)
    axes.set_ylabel("memory")
    axes.legend(loc="lower right")
    axes.set_title("Predicted memory against batch size (not measured)")
    save_figure(figure, path)
    return True


def _gpu_lines(axes: Axes, result: BatchResult) -> None:
    """Draw a line for each GPU, with its memory written at the right end."""
    for prediction in result.predictions:
        axes.axhline(prediction.memory_bytes, color=GREY, linewidth=0.8, zorder=2)
        text, right_end = format_gpu_memory(prediction.memory_bytes), ("axes fraction", "data")
        place = (1.0, prediction.memory_bytes)
        note(axes, text, place, (4, 0), xycoords=right_end, va="center", fontsize=7, color=BLACK)


def _batch_axis(axes: Axes, sizes: Sequence[int], margin: float = 1.4) -> None:
    axes.set_xscale("log", base=2)
    every = sorted(set(sizes))
    ticks_at(axes.xaxis, every[:: -(-len(every) // _MAX_TICKS)], format_count)
    axes.set_xlim(every[0] / margin, every[-1] * margin)
    axes.set_xlabel("batch size")


def _rate(attempt: Attempt) -> float:
    return attempt.samples_per_second or 0.0
