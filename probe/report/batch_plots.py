"""Plots of a batch probe: throughput and memory against batch size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from probe.batch.decide import timed_by_size
from probe.batch.records import Attempt, BatchResult
from probe.report.batch_facts import MEMORY_OUTCOMES, best_throughput
from probe.report.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    new_figure,
    save_figure,
    ticks_at,
)
from probe.units import byte_unit, format_bytes, format_count


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
    """Peak memory against batch size, the limit, and the sizes that failed. Returns False where fewer than two were tried."""
    measured: dict[int, Attempt] = {}
    for attempt in result.attempts:
        if attempt.fits and attempt.memory is not None:
            measured[attempt.batch_size] = _larger(measured.get(attempt.batch_size), attempt)
    failed = sorted({a.batch_size for a in result.attempts if not a.fits} - set(measured))
    readings = [(size, measured[size].memory) for size in sorted(measured)]
    allocated = [reading.peak_allocated_bytes for _, reading in readings if reading is not None]
    reserved = [reading.peak_reserved_bytes for _, reading in readings if reading is not None]
    top = max([*reserved, result.limit_bytes or 0], default=0)
    if top == 0 or len(measured) + len(failed) < 2:
        return False
    unit, scale = byte_unit(top)
    sizes = sorted(measured)
    figure, [axes] = new_figure()
    if sizes:
        if reserved != allocated:
            axes.plot(
                sizes, [r / scale for r in reserved], marker="s", linestyle="--", color=GREEN, label="peak reserved"
            )
        axes.plot(sizes, [a / scale for a in allocated], marker="o", color=BLUE, label="peak allocated")
    if result.limit_bytes is not None:
        label = f"limit: {format_bytes(result.limit_bytes)}"
        axes.axhline(result.limit_bytes / scale, color=BLACK, linewidth=1.4, label=label)
    _mark_failures(axes, result, failed, (result.limit_bytes or max(reserved)) / scale)
    axes.set_ylim(0, 1.15 * top / scale)
    axes.set_ylabel(f"memory ({unit})")
    _batch_axis(axes, [*sizes, *failed])
    axes.legend(loc="center left" if sizes else "lower left")
    axes.set_title("Memory against batch size")
    save_figure(figure, path)
    return True


def _mark_failures(axes: Axes, result: BatchResult, sizes: Sequence[int], height: float) -> None:
    """Crosses at the limit for sizes that ran out of memory, pluses at the bottom for those that failed otherwise."""
    outcomes = {attempt.batch_size: attempt.outcome for attempt in result.attempts if not attempt.fits}
    short = [size for size in sizes if outcomes[size] in MEMORY_OUTCOMES]
    other = [size for size in sizes if outcomes[size] not in MEMORY_OUTCOMES]
    for group, y, marker, label in ((short, height, "x", "out of memory"), (other, 0.0, "P", "failed otherwise")):
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
    ticks_at(axes, [float(size) for size in every], format_count)
    axes.set_xlim(every[0] / 1.4, every[-1] * 1.4)
    axes.set_xlabel("batch size")


def _rate(attempt: Attempt) -> float:
    return attempt.samples_per_second or 0.0


def _larger(before: Attempt | None, after: Attempt) -> Attempt:
    """The attempt with the larger peak: of several runs of one size, the worst case counts."""
    if before is None or before.memory is None or after.memory is None:
        return after
    return max(before, after, key=lambda a: a.memory.peak_reserved_bytes if a.memory is not None else 0)
