"""Progress of a download on stderr: a bar on a terminal, one line per quarter elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import click

from probe.cli.live.progress import wants_live

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
            click.echo(f"{activity}: {25 * quarters} %" if total else activity, err=True)


@contextmanager
def _bar() -> Iterator[DownloadObserver]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

    tasks: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TaskProgressColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:

        def update(activity: str, done: int, total: int | None) -> None:
            if activity not in tasks:
                tasks[activity] = progress.add_task(activity, total=total)
            progress.update(tasks[activity], completed=done, total=total)

        yield update


def _ignore(activity: str, done: int, total: int | None) -> None:
    """Discard progress."""
