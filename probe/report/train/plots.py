"""The plot of the training of one configuration."""

from __future__ import annotations

from functools import partial

from probe.report.shared.curve_plots import draw_curves
from probe.report.shared.style import Drawings
from probe.report.train.page import CURVES_PLOT
from probe.single.records import TrainResult


def train_plots(result: TrainResult) -> Drawings:
    """The plots of the report."""
    title = f"{result.name}: {result.task}"
    return {CURVES_PLOT: partial(draw_curves, result.reports, title=title, metric=result.metric)}
