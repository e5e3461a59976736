"""Live view of one training."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from probe.cli.live.lines import training_text
from probe.printable import one_line
from probe.report.shared.wording import metric_text
from probe.single.records import TrainStarted
from probe.training.records import EpochReport
from probe.units import format_seconds, format_value

BAR_WIDTH = 30
MAX_EPOCHS = 15
"""Number of latest epochs that are shown, so that they fit on a small terminal."""


class TrainView:
    """A table of the latest epochs, above a bar with the remaining time."""

    keep = True

    def __init__(self) -> None:
        self.running = True
        self._started: TrainStarted | None = None
        self._reports: list[EpochReport] = []
        self._since = time.monotonic()
        self._spinner = Spinner("dots", text="loading")

    def update(self, record: Any) -> None:
        if isinstance(record, TrainStarted):
            self._started, self._since = record, time.monotonic()
        elif isinstance(record, EpochReport):
            self._reports.append(record)
            self._since = time.monotonic()

    def draw(self) -> RenderableType:
        started = self._started
        if started is None:
            return self._spinner if self.running else Text("")
        parts: list[RenderableType] = [Text(training_text(started), style="dim")]
        if self._reports:
            parts.append(self._table(started.metric))
        if self.running:
            parts.append(self._bar(started))
        return Group(*parts)

    def _table(self, metric: str) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        has_val = any(report.val_loss is not None for report in self._reports)
        has_metric = any(metric in report.metrics for report in self._reports)
        names = ["epoch", "training loss", *(["validation loss"] * has_val), *([metric] * has_metric), "time"]
        for name in names:
            table.add_column(Text(one_line(name), style="dim"), justify="right", no_wrap=True)
        for report in self._reports[-MAX_EPOCHS:]:
            cells = [str(report.epoch), format_value(report.train_loss)]
            if has_val:
                cells.append("" if report.val_loss is None else format_value(report.val_loss))
            if has_metric:
                cells.append(metric_text(metric, report.metrics[metric]) if metric in report.metrics else "")
            table.add_row(*cells, format_seconds(report.seconds))
        return table

    def _bar(self, started: TrainStarted) -> RenderableType:
        done = len(self._reports)
        row = Table.grid(padding=(0, 2, 0, 0))
        text = f"epoch {min(done + 1, started.epochs)} of {started.epochs}"
        if done:
            typical = sorted(report.seconds for report in self._reports)[done // 2]
            left = max(0.0, typical * (started.epochs - done) - (time.monotonic() - self._since))
            text += f", about {format_seconds(left)} left"
        row.add_row(ProgressBar(total=started.epochs, completed=done, width=BAR_WIDTH), text)
        return row
