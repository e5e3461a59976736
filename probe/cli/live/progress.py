"""Progress on stderr while a command works or downloads: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, TextIO

from probe.cli.terminal import echo

Observer = Callable[[Any], None]
"""Called with progress records: attempts, steps, epochs, trials."""

Kind = Literal["batch", "lr", "search", "train"]


def open_progress(kind: Kind, *, quiet: bool, constants: Collection[str] = ()) -> AbstractContextManager[Observer]:
    """Return a context with the observer of one run; `constants` are equal in all trials and therefore not shown."""
    if quiet:
        return nullcontext(_ignore)
    if wants_live(sys.stderr, os.environ):
        from probe.cli.live.views import open_live

        return open_live(kind, constants)
    from probe.cli.live.lines import PlainLines

    return nullcontext(PlainLines(constants))


def waiting(reason: str, *, quiet: bool) -> AbstractContextManager[object]:
    """Return a context that shows a spinner on a terminal, for work that takes seconds, like importing PyTorch."""
    if quiet or not wants_live(sys.stderr, os.environ):
        return nullcontext()
    from probe.cli.live.views import open_waiting

    return open_waiting(reason)


def wants_live(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether `stream` is a terminal that can redraw lines, and no environment variable asks for plain text.

    NO_COLOR counts if it is not empty (https://no-color.org), CI counts even if it is empty.
    """
    return stream.isatty() and not environ.get("NO_COLOR") and "CI" not in environ and environ.get("TERM") != "dumb"


DownloadObserver = Callable[[str, int, int | None], None]
"""Called with (activity, amount done, total amount or None if unknown)."""


def open_download(*, quiet: bool) -> AbstractContextManager[DownloadObserver]:
    """Return a context with the observer of one download."""
    if quiet:
        return nullcontext(_ignore)
    return _bar() if wants_live(sys.stderr, os.environ) else nullcontext(QuarterLines())


class QuarterLines:
    """Prints a line when an activity starts, and at each quarter if the total is known."""

    def __init__(self) -> None:
        self._last: tuple[str, int] | None = None

    def __call__(self, activity: str, done: int, total: int | None) -> None:
        quarters = 4 * done // total if total else 0
        if (activity, quarters) != self._last:
            self._last = (activity, quarters)
            echo(f"{activity}: {25 * quarters} %" if total else activity, err=True)


@contextmanager
def _bar() -> Iterator[DownloadObserver]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

    tasks: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=30), TaskProgressColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:

        def update(activity: str, done: int, total: int | None) -> None:
            if activity not in tasks:
                tasks[activity] = progress.add_task(activity, total=total)
            progress.update(tasks[activity], completed=done, total=total)

        yield update


def _ignore(*progress: Any) -> None:
    """Discard progress."""
