"""Learning curves of one training: losses in one panel, metrics in another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from probe.report.shared.style import LINES, MARKERS, color_of, new_figure, save_figure
from probe.training.records import EpochReport

MAX_METRICS = 3
MAX_MARKED_EPOCHS = 30


def draw_curves(
    reports: Sequence[EpochReport], path: Path, *, title: str, metric: str, final: Sequence[EpochReport] = ()
) -> bool:
    """Draw losses and metrics by epoch; `final` is a second training without validation. Returns False without any report."""
    if not reports:
        return False
    names = shown_metrics(reports, metric)
    figure, [loss, *others] = new_figure(2 if names else 1, width=7.6 if names else 5.2, height=3.6)
    _draw_line(loss, reports, [r.train_loss for r in reports], 0, "training")
    _draw_line(loss, reports, [r.val_loss for r in reports], 1, "validation")
    if final:
        _draw_line(loss, final, [r.train_loss for r in final], 2, "final training")
    _finish_panel(loss, "loss")
    for axes in others:
        if len(names) == 1:
            [name] = names
            _draw_line(axes, reports, [r.train_metrics.get(name) for r in reports], 0, "training")
            _draw_line(axes, reports, [r.metrics.get(name) for r in reports], 1, "validation")
            _draw_line(axes, final, [r.train_metrics.get(name) for r in final], 2, "final training")
            _finish_panel(axes, name)
        else:
            for index, name in enumerate(names):
                _draw_line(axes, reports, [r.metrics.get(name) for r in reports], 1 + index, name)
            _finish_panel(axes, "on validation data")
    loss.set_title(title)
    save_figure(figure, path)
    return True


def shown_metrics(reports: Sequence[EpochReport], objective: str) -> list[str]:
    """The metrics drawn in one panel, the objective first: several only if all of them are between 0 and 1."""
    values: dict[str, list[float]] = {}
    for report in reports:
        for name, value in report.metrics.items():
            values.setdefault(name, []).append(value)
    names = sorted(values, key=lambda name: name != objective)
    if all(0 <= value <= 1 for name in names for value in values[name]):
        return names[:MAX_METRICS]
    return names[:1]


def _draw_line(
    axes: Axes, reports: Sequence[EpochReport], values: Sequence[float | None], index: int, label: str
) -> None:
    points = [(report.epoch, value) for report, value in zip(reports, values, strict=True) if value is not None]
    if points:
        size = 4.5 if len(points) <= MAX_MARKED_EPOCHS else 0.0
        [line] = axes.plot(*zip(*points, strict=True), color=color_of(index), linestyle=LINES[index], label=label)
        line.set_marker(MARKERS[index])
        line.set_markersize(size)


def _finish_panel(axes: Axes, name: str) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel(name)
    if axes.lines:
        axes.legend(loc="best")
