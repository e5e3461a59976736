"""Live views of batch size, learning rate and search. Imported only if stderr is a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.status import Status
from rich.table import Table
from rich.text import Text

from probe.batch.context import ProbeInfo
from probe.batch.decide import NextAttempt
from probe.batch.prediction_records import PredictionInfo
from probe.batch.records import Attempt, LoaderSpeed
from probe.cli.live.lines import RecordText, params_text, stage_text
from probe.cli.live.train import TrainView
from probe.lr.plan import LrPlan
from probe.lr.records import ConfirmRun, LrProgress
from probe.printable import printable
from probe.report.batch.sentences import OUTCOMES, rate_text
from probe.report.batch.speed import speed_text
from probe.report.search.cluster_page import use_text
from probe.search.records.search import RunningTrial, SearchProgress
from probe.units import format_bytes, format_count, format_lr, format_seconds, format_value

BAR_WIDTH = 30
SPARK_WIDTH = 72
_SPARKS = "▁▂▃▄▅▆▇█"


class View(Protocol):
    """A picture of a run that is updated by progress records."""

    keep: bool
    """Whether the last picture stays on the screen."""
    running: bool
    """Set to False before the last picture is drawn."""

    def update(self, record: Any) -> None: ...

    def draw(self) -> RenderableType: ...


def open_waiting(reason: str) -> Status:
    """Return a context that shows a spinner."""
    return Console(stderr=True).status(reason)


@contextmanager
def open_live(kind: str, constants: Collection[str] = ()) -> Iterator[Callable[[Any], None]]:
    """Draw the view of a `kind` of run on stderr until the context ends. Yields the observer that updates it."""
    views: dict[str, Callable[[], View]] = {
        "batch": BatchView,
        "lr": LrView,
        "search": partial(SearchView, constants),
        "train": TrainView,
    }
    view = views[kind]()
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)

    def draw() -> RenderableType:
        # The margin holds the ^C that a terminal echoes: a wrapped line would shift the lines that are redrawn.
        return Constrain(view.draw(), max(20, console.width - 4))

    with Live(get_renderable=draw, console=console, refresh_per_second=8, transient=not view.keep) as live:
        try:
            yield view.update
        finally:
            view.running = False
            live.refresh()


class BatchView:
    """A growing table of attempts for each variant, above the current activity."""

    keep = True

    def __init__(self) -> None:
        self.running = True
        self._text = RecordText()
        self._variants: list[_VariantTable] = []
        self._activity = "predicting"
        self._since = time.monotonic()
        self._spinner = Spinner("dots")

    def update(self, record: Any) -> None:
        if isinstance(record, str):
            self._variants.append(_VariantTable(record))
            self._start("loading")
        elif isinstance(record, ProbeInfo):
            self._start("predicting")
        elif isinstance(record, PredictionInfo):
            self._variant.prediction = self._text(record)
            self._start("first attempt")
        elif isinstance(record, NextAttempt):
            purpose = "" if record.purpose == "size" else f" ({record.purpose})"
            self._start(f"trying batch {record.batch_size}{purpose}")
        elif isinstance(record, Attempt):
            self._variant.attempts.append(record)
            self._start("next attempt")
        elif isinstance(record, LoaderSpeed):
            self._variant.notes.append(speed_text(record))
            self._start("loading")

    def draw(self) -> RenderableType:
        lines = [line for variant in self._variants for line in variant.draw()]
        if not self.running:
            return Group(*lines)
        self._spinner.update(text=f"{self._activity}, {time.monotonic() - self._since:.0f} s")
        return Group(*lines, self._spinner)

    @property
    def _variant(self) -> _VariantTable:
        if not self._variants:
            self._variants.append(_VariantTable(None))
        return self._variants[-1]

    def _start(self, activity: str) -> None:
        self._activity, self._since = activity, time.monotonic()


@dataclass
class _VariantTable:
    """Prediction and attempts of one variant, or lines about the data loader."""

    title: str | None
    prediction: str | None = None
    attempts: list[Attempt] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def draw(self) -> list[RenderableType]:
        texts = ((self.title, "bold"), (self.prediction, "dim"), *((note, "") for note in self.notes))
        lines = [_line(text, style) for text, style in texts if text is not None]
        return [*lines, _attempts_table(self.attempts)] if self.attempts else [*lines]


def _attempts_table(attempts: Sequence[Attempt]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("batch", "purpose", "outcome", "samples/s", "peak memory"):
        if name in ("purpose", "outcome"):
            table.add_column(Text(name, style="dim"), min_width=10)
        else:
            table.add_column(Text(name, style="dim"), justify="right", no_wrap=True, min_width=5)
    for attempt in attempts:
        memory = format_bytes(attempt.memory.peak_reserved_bytes) if attempt.memory and attempt.fits else ""
        outcome = Text(OUTCOMES[attempt.outcome], style="green" if attempt.fits else "yellow")
        table.add_row(str(attempt.batch_size), attempt.purpose, outcome, rate_text(attempt), memory)
    return table


class LrView:
    """The plan and the finished runs, above the progress and the losses of the current range test or run."""

    keep = False

    def __init__(self) -> None:
        self.running = True
        self._text = RecordText()
        self._lines: list[str | None] = []
        self._last: LrProgress | None = None
        self._losses: list[float] = []
        self._spinner = Spinner("dots", text="loading")

    def update(self, record: Any) -> None:
        if isinstance(record, LrProgress):
            if self._last is None or record.phase != self._last.phase:
                self._losses = []
            self._last = record
            self._losses.append(record.loss)
        elif isinstance(record, str):  # the next variant of a comparison
            self._lines, self._last = [record], None
        elif isinstance(record, (LrPlan, ConfirmRun)):
            self._lines.append(self._text(record))

    def draw(self) -> RenderableType:
        last = self._last
        lines = [_line(line, "dim") for line in self._lines if line is not None]
        if last is None:
            return Group(*lines, self._spinner)
        steps = f"{last.phase}: {last.step} of {last.num_steps} steps"
        bar = _bar(last.step, last.num_steps, steps, f"lr {format_lr(last.lr)}", f"loss {format_value(last.loss)}")
        return Group(*lines, bar, Text(sparkline(self._losses, SPARK_WIDTH), style="cyan"))


class SearchView:
    """The budget, the running trials, the best trial and the latest event."""

    keep = False

    def __init__(self, constants: Collection[str] = ()) -> None:
        self.running = True
        self._constants = constants
        self._text = RecordText(constants)
        self._progress: SearchProgress | None = None
        self._since = time.monotonic()
        self._latest: str | None = None
        self._spinner = Spinner("dots", text="loading")

    def update(self, record: Any) -> None:
        if isinstance(record, SearchProgress):
            self._progress, self._since = record, time.monotonic()
        else:
            self._latest = self._text(record) or self._latest

    def draw(self) -> RenderableType:
        progress = self._progress
        if progress is None:
            return self._spinner
        self._spinner.update(text=_line(stage_text(progress)))
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True, min_width=len("running"))
        table.add_column()
        for label, spent, limit in _budget(progress, time.monotonic() - self._since):
            write = format_seconds if label == "time" else format_count
            table.add_row(label, _bar(min(spent, limit), limit, f"{write(spent)} of {write(limit)}"))
        utilization = None if progress.slots is None else use_text(progress.slots)
        if utilization is not None:
            table.add_row("on", _line(utilization))
        for index, trial in enumerate(progress.running):
            table.add_row("running" if index == 0 else "", _line(self._running_text(trial)))
        if progress.best is not None:
            best = progress.best
            params = params_text(best.params, self._constants)
            table.add_row("best", _line(f"trial {best.number}  {format_value(best.value)}  {params}", "green"))
        if self._latest is not None:
            table.add_row("last", _line(self._latest))
        return Group(self._spinner, table)

    def _running_text(self, trial: RunningTrial) -> str:
        place = f"{trial.place}  " if trial.place else ""
        epoch = f"epoch {min(trial.epoch + 1, trial.epochs_to)} of {trial.epochs_to}"
        return f"trial {trial.number}  {place}{epoch}  {params_text(trial.params, self._constants)}"


def sparkline(values: Sequence[float], width: int) -> str:
    """Return at most `width` blocks, each the mean of an equal part of the values, scaled from lowest to highest."""
    num_blocks = min(width, len(values))
    edges = [round(number * len(values) / num_blocks) for number in range(num_blocks + 1)] if num_blocks else [0]
    means = [sum(values[start:end]) / (end - start) for start, end in pairwise(edges)]
    low, high = min(means, default=0.0), max(means, default=0.0)
    scale = (len(_SPARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_SPARKS[round((mean - low) * scale)] for mean in means)


def _budget(progress: SearchProgress, since: float) -> list[tuple[str, float, float]]:
    """Return (label, spent, limit) of each limit that is set; `since` is the time in seconds since the last progress."""
    spent, limits = progress.spent, progress.limits
    rows = [("trials", spent.trials, limits.trials), ("epochs", spent.epochs, limits.epochs)]
    rows.append(("time", spent.seconds + (since if progress.stage != "final" else 0.0), limits.time_seconds))
    return [(label, done, limit) for label, done, limit in rows if limit is not None]


def _bar(done: float, limit: float, *texts: str) -> RenderableType:
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_row(ProgressBar(total=limit, completed=done, width=BAR_WIDTH), *texts)
    return row


def _line(text: str, style: str = "") -> Text:
    """Return one line of text, cut at the width of the terminal. Brackets are not markup."""
    return Text(printable(text).replace("\n", " "), style=style, no_wrap=True, overflow="ellipsis")
