"""Plots of a batch probe: throughput and memory against batch size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from probe.batch.decide import timed_by_size
from probe.batch.prediction_records import PredictedPeak
from probe.batch.records import MEMORY_OUTCOMES, Attempt, BatchResult
from probe.report.batch.summary import best_throughput, taken_bytes
from probe.report.shared.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    byte_ticks,
    new_figure,
    save_figure,
    ticks_at,
)
from probe.units import byte_unit, format_bytes, format_count, format_value

_DOUBLINGS_BEYOND = 3
"""Of the largest size tried: so far a prediction is drawn."""
_MAX_TICKS = 12
_FLAT = 10
"""Where the limit is so many times the largest peak, the axis of memory is logarithmic."""


def draw_throughput(result: BatchResult, path: Path) -> bool:
    """Samples per second against batch size, the recommended one marked. Returns False where fewer than two were timed."""
    timed = timed_by_size(result.attempts)
    if len(timed) < 2:
        return False
    figure, [axes] = new_figure()
    sizes, rates = list(timed), [_rate(attempt) for attempt in timed.values()]
    axes.plot(sizes, rates, marker="o", color=BLUE, label="measured", zorder=3)
    best = best_throughput(result.attempts)
    axes.axhline(0.95 * best, color=GREY, linestyle=":", linewidth=1.2, label="5 % below the best")
    if result.recommended in timed:
        rate = _rate(timed[result.recommended])
        label = f"recommended: {format_count(result.recommended)}"
        axes.plot(
            [result.recommended],
            [rate],
            marker="D",
            markersize=11,
            markerfacecolor="none",
            markeredgewidth=2,
            linestyle="none",
            color=ORANGE,
            label=label,
            zorder=4,
        )
    axes.set_ylim(0, 1.12 * max(rates))
    axes.set_ylabel("samples per second")
    axes.yaxis.set_major_formatter(lambda value, _: format_count(value))
    _batch_axis(axes, sizes)
    axes.legend(loc="lower right")
    axes.set_title("Throughput against batch size")
    save_figure(figure, path)
    return True


def draw_memory(result: BatchResult, path: Path) -> bool:
    """Peak memory against batch size, predicted and measured, the limit, and the sizes that failed.

    Returns False where fewer than two sizes were tried.
    """
    measured: dict[int, Attempt] = {}
    for attempt in result.attempts:
        if attempt.fits and attempt.memory is not None:
            measured[attempt.batch_size] = _larger(measured.get(attempt.batch_size), attempt)
    failed = sorted({a.batch_size for a in result.attempts if not a.fits} - set(measured))
    readings = [(size, measured[size].memory) for size in sorted(measured)]
    allocated = [reading.peak_allocated_bytes for _, reading in readings if reading is not None]
    taken = [taken_bytes(result, reading.peak_reserved_bytes) for _, reading in readings if reading is not None]
    top = max([*taken, result.limit_bytes or 0], default=0)
    if top == 0 or len(measured) + len(failed) < 2:
        return False
    sizes, tried = sorted(measured), [*measured, *failed]
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
    # The upper left corner holds nothing but the limit's line: memory grows to the right.
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0.84))
    axes.set_title("Memory against batch size")
    save_figure(figure, path)
    return True


def _predicted_points(result: BatchResult, sizes: Sequence[int]) -> list[PredictedPeak]:
    """What was predicted of the sizes tried, and beyond them up to the first that passes the limit, but not far."""
    curve = result.prediction_info.curve if result.prediction_info is not None else ()
    points: list[PredictedPeak] = []
    for point in curve:
        passed = bool(points) and points[-1].peak_bytes > (result.limit_bytes or 0)
        most = max(sizes) if passed else max(sizes) << _DOUBLINGS_BEYOND
        if min(sizes) <= point.batch_size <= most:
            points.append(point)
    return points


def _plot_prediction(axes: Axes, points: Sequence[PredictedPeak], most: int) -> int:
    """Dashed and dotted lines above the measured ones. Returns the top of what is below `most`, or 0."""
    lines = [("predicted: allocated", ":", [point.allocated_bytes for point in points])]
    if any(point.peak_bytes != point.allocated_bytes for point in points):
        lines.append(("predicted: taken in all", "--", [point.peak_bytes for point in points]))
    shown = [line for line in lines if line[2] and min(line[2]) <= most]
    for label, style, heights in shown:
        x = [point.batch_size for point in points]
        axes.plot(x, heights, color=GREY, linestyle=style, linewidth=1.3, label=label, zorder=3)
    return min(most, max((max(heights) for _, _, heights in shown), default=0))


def _memory_axis(axes: Axes, peaks: Sequence[int], top: int) -> float:
    """From 0, or in powers of two where the limit would press what was measured flat. Returns the axis' lower end."""
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
    """Crosses at the limit for sizes that ran out of memory, pluses at the bottom for those that failed otherwise."""
    outcomes = {attempt.batch_size: attempt.outcome for attempt in result.attempts if not attempt.fits}
    short = [size for size in sizes if outcomes[size] in MEMORY_OUTCOMES]
    other = [size for size in sizes if outcomes[size] not in MEMORY_OUTCOMES]
    for group, y, marker, label in ((short, height, "x", "out of memory"), (other, floor, "P", "failed otherwise")):
        if group:
            axes.plot(
                group,
                [y] * len(group),
                marker=marker,
                markersize=9,
                markeredgewidth=2.2,
                linestyle="none",
                color=ORANGE,
                label=label,
                zorder=4,
                clip_on=False,
            )


def _batch_axis(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    every = sorted(set(sizes))
    ticks_at(axes, [float(size) for size in every[:: -(-len(every) // _MAX_TICKS)]], format_count)
    axes.set_xlim(every[0] / 1.4, every[-1] * 1.4)
    axes.set_xlabel("batch size")


def _rate(attempt: Attempt) -> float:
    return attempt.samples_per_second or 0.0


def _larger(before: Attempt | None, after: Attempt) -> Attempt:
    """The attempt with the larger peak: of several runs of one size, the worst case counts."""
    if before is None or before.memory is None or after.memory is None:
        return after
    return max(before, after, key=lambda a: a.memory.peak_reserved_bytes if a.memory is not None else 0)
