"""The live views. Imported only where there is a terminal to draw on."""

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

from probe.batch.decide import Plan
from probe.batch.records import Attempt, Forecast
from probe.cli.answers.progress_text import params_text, plan_text, run_text, step_text, trial_text
from probe.cli.live.plain import STAGES
from probe.lr.plan import LrPlan
from probe.lr.records import ConfirmRun, LrProgress
from probe.report.batch.sentences import OUTCOMES, forecast_text
from probe.report.search.cluster_page import use_text
from probe.search.records.search import SearchProgress, TrialResult
from probe.training.records import EpochReport
from probe.units import format_bytes, format_count, format_lr, format_seconds, format_value

BAR_WIDTH = 30
SPARK_WIDTH = 72
_SPARKS = "▁▂▃▄▅▆▇█"


class View(Protocol):
    """What an observer's records amount to, on a screen."""

    keep: bool
    """Whether the last picture stays on the screen."""
    running: bool
    """Set to False before the last picture."""

    def see(self, record: Any) -> None: ...

    def draw(self) -> RenderableType: ...


def open_waiting(reason: str) -> Status:
    """A spinner for as long as the context lasts."""
    return Console(stderr=True).status(reason)


@contextmanager
def open_live(kind: str, constants: Collection[str] = ()) -> Iterator[Callable[[Any], None]]:
    """Draw the view for `kind` on stderr until the context ends; gives the observer that feeds it."""
    from probe.cli.live.train import TrainView

    views: dict[str, Callable[[], View]] = {
        "batch": BatchView,
        "lr": LrView,
        "search": partial(SearchView, constants),
        "train": TrainView,
    }
    view = views[kind]()
    console = Console(stderr=True, highlight=False)

    def draw() -> RenderableType:
        # The margin takes the ^C that a terminal echoes: wrapped, it would move the lines that are to be drawn over.
        return Constrain(view.draw(), max(20, console.width - 4))

    with Live(get_renderable=draw, console=console, refresh_per_second=8, transient=not view.keep) as live:
        try:
            yield view.see
        finally:
            view.running = False
            live.refresh()


class BatchView:
    """The attempts as a growing table, one for each way to train, above what is going on."""

    keep = True

    def __init__(self) -> None:
        self.running = True
        self._parts: list[_Part] = []
        self._doing = "predicting"
        self._since = time.monotonic()
        self._spinner = Spinner("dots")

    def see(self, record: Any) -> None:
        if isinstance(record, str):
            self._parts.append(_Part(record))
            self._go_on("predicting")
        elif isinstance(record, Forecast):
            self._part.forecast = forecast_text(record)
            self._go_on("first attempt")
        elif isinstance(record, Plan):
            purpose = "" if record.purpose == "size" else f" ({record.purpose})"
            self._go_on(f"trying batch {record.batch_size}{purpose}")
        elif isinstance(record, Attempt):
            self._part.attempts.append(record)
            self._go_on("next attempt")

    def draw(self) -> RenderableType:
        parts = [line for part in self._parts for line in part.draw()]
        if not self.running:
            return Group(*parts)
        self._spinner.update(text=f"{self._doing}, {time.monotonic() - self._since:.0f} s")
        return Group(*parts, self._spinner)

    @property
    def _part(self) -> _Part:
        if not self._parts:
            self._parts.append(_Part(None))
        return self._parts[-1]

    def _go_on(self, doing: str) -> None:
        self._doing, self._since = doing, time.monotonic()


@dataclass
class _Part:
    """What was seen of one way to train."""

    title: str | None
    forecast: str | None = None
    attempts: list[Attempt] = field(default_factory=list)

    def draw(self) -> list[RenderableType]:
        lines: list[RenderableType] = []
        if self.title is not None:
            lines.append(_line(self.title, "bold"))
        if self.forecast is not None:
            lines.append(_line(self.forecast, "dim"))
        if self.attempts:
            lines.append(_attempts_table(self.attempts))
        return lines


def _attempts_table(attempts: Sequence[Attempt]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("batch", "purpose", "outcome", "samples/s", "peak memory"):
        right = name in ("batch", "samples/s", "peak memory")
        table.add_column(
            Text(name, style="dim"),
            justify="right" if right else "left",
            no_wrap=right,
            min_width=10 if not right else 5,
        )
    for attempt in attempts:
        rate = format_count(attempt.samples_per_second) if attempt.samples_per_second is not None else ""
        memory = format_bytes(attempt.memory.peak_reserved_bytes) if attempt.memory and attempt.fits else ""
        outcome = Text(OUTCOMES[attempt.outcome], style="green" if attempt.fits else "yellow")
        table.add_row(str(attempt.batch_size), attempt.purpose, outcome, rate, memory)
    return table


class LrView:
    """What will be spent, the runs that are finished, and of what is going on a bar, the loss and its course."""

    keep = False

    def __init__(self) -> None:
        self.running = True
        self._lines: list[str] = []
        self._last: LrProgress | None = None
        self._losses: list[float] = []
        self._spinner = Spinner("dots", text="loading")

    def see(self, record: Any) -> None:
        if isinstance(record, str):  # what comes next, of several
            self._lines, self._last = [record], None
        elif isinstance(record, LrPlan):
            self._lines.append(plan_text(record))
        elif isinstance(record, ConfirmRun):
            self._lines.append(run_text(record))
        elif isinstance(record, LrProgress):
            if self._last is None or record.part != self._last.part:
                self._losses = []
            self._last = record
            self._losses.append(record.loss)

    def draw(self) -> RenderableType:
        last = self._last
        told = [_line(line, "dim") for line in self._lines]
        if last is None:
            return Group(*told, self._spinner)
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_row(
            ProgressBar(total=last.num_steps, completed=last.step, width=BAR_WIDTH),
            f"{last.part}: {last.step} of {last.num_steps} steps",
            f"lr {format_lr(last.lr)}",
            f"loss {format_value(last.loss)}",
        )
        return Group(*told, row, Text(sparkline(self._losses, SPARK_WIDTH), style="cyan"))


class SearchView:
    """The budget, what is running, the best so far, the last news."""

    keep = False

    def __init__(self, constants: Collection[str] = ()) -> None:
        self.running = True
        self._constants = constants
        self._progress: SearchProgress | None = None
        self._since = time.monotonic()
        self._news = ""
        self._spinner = Spinner("dots", text="loading")

    def see(self, record: Any) -> None:
        if isinstance(record, SearchProgress):
            self._progress, self._since = record, time.monotonic()
        elif isinstance(record, TrialResult):
            self._news = trial_text(record, self._constants)
        elif isinstance(record, Attempt):
            self._news = f"batch {record.batch_size} {OUTCOMES[record.outcome]}"
        elif isinstance(record, EpochReport):
            self._news = f"epoch {record.epoch}, training loss {format_value(record.train_loss)}"
        elif isinstance(record, LrProgress):
            self._news = step_text(record)

    def draw(self) -> RenderableType:
        progress = self._progress
        if progress is None:
            return self._spinner
        detail = f": {progress.message}" if progress.message else ""
        self._spinner.update(text=STAGES[progress.stage] + detail)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True, min_width=len("running"))
        table.add_column()
        for label, done, limit in _budget(progress, time.monotonic() - self._since):
            table.add_row(label, _bar(done, limit, label))
        used = None if progress.slots is None else use_text(progress.slots)
        if used is not None:
            table.add_row("on", _line(used))
        for index, trial in enumerate(progress.running):
            epoch = f"epoch {min(trial.epoch + 1, trial.epochs_to)} of {trial.epochs_to}"
            where = f"{trial.place}  " if trial.place else ""
            text = f"trial {trial.number}  {where}{epoch}  {params_text(trial.params, self._constants)}"
            table.add_row("running" if index == 0 else "", _line(text))
        if progress.best is not None:
            best = progress.best
            table.add_row(
                "best",
                _line(
                    f"trial {best.number}  {format_value(best.value)}  {params_text(best.params, self._constants)}",
                    "green",
                ),
            )
        if self._news:
            table.add_row("last", _line(self._news))
        return Group(self._spinner, table)


def sparkline(values: Sequence[float], width: int) -> str:
    """At most `width` blocks, each the mean of its share of the values; the lowest of them lowest."""
    num_blocks = min(width, len(values))
    edges = [round(number * len(values) / num_blocks) for number in range(num_blocks + 1)] if num_blocks else [0]
    means = [sum(values[start:end]) / (end - start) for start, end in pairwise(edges)]
    low, high = min(means, default=0.0), max(means, default=0.0)
    scale = (len(_SPARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_SPARKS[round((mean - low) * scale)] for mean in means)


def _budget(progress: SearchProgress, since: float) -> list[tuple[str, float, float]]:
    """(what, spent, limit) for every limit that is set; the clock goes on for the seconds `since` the last news."""
    spent, limits = progress.spent, progress.limits
    rows = [("trials", spent.trials, limits.trials), ("epochs", spent.epochs, limits.epochs)]
    rows.append(("time", spent.seconds + (since if progress.stage != "final" else 0.0), limits.time_seconds))
    return [(label, done, limit) for label, done, limit in rows if limit is not None]


def _bar(done: float, limit: float, label: str) -> RenderableType:
    row = Table.grid(padding=(0, 2, 0, 0))
    write = format_seconds if label == "time" else format_count
    row.add_row(
        ProgressBar(total=limit, completed=min(done, limit), width=BAR_WIDTH), f"{write(done)} of {write(limit)}"
    )
    return row


def _line(text: str, style: str = "") -> Text:
    """Text as it is, not markup, cut to one line."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")
