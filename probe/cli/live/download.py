"""How far a download is: a bar on a terminal, a line for each quarter anywhere else. All of it goes to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import click

from probe.cli.live.progress import wants_live

Tell = Callable[[str, int, int | None], None]
"""(what is being done, how much of it is done, how much there is in all if that is known)"""


def open_download(*, quiet: bool) -> AbstractContextManager[Tell]:
    """What is to be told how far a download is, for as long as the context lasts."""
    if quiet:
        return nullcontext(_ignore)
    return _bar() if wants_live(sys.stderr, os.environ) else nullcontext(QuarterLines())


class QuarterLines:
    """A line when something begins, at each quarter of it, and nothing where the whole is not known."""

    def __init__(self) -> None:
        self._said: tuple[str, int] | None = None

    def __call__(self, what: str, done: int, total: int | None) -> None:
        quarters = 4 * done // total if total else 0
        if (what, quarters) != self._said:
            self._said = (what, quarters)
            click.echo(f"{what}: {25 * quarters} %" if total else what, err=True)


@contextmanager
def _bar() -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

    tasks: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TaskProgressColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:

        def tell(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield tell


def _ignore(what: str, done: int, total: int | None) -> None:
    """Quiet."""
