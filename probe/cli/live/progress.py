"""Progress on stderr while a command works: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, TextIO

Observer = Callable[[Any], None]
"""Called with progress records: attempts, steps, epochs, trials."""

Kind = Literal["batch", "lr", "search", "train"]


def open_progress(kind: Kind, *, quiet: bool, constants: Collection[str] = ()) -> AbstractContextManager[Observer]:
    """Return a context with the observer of one run. Leaving it clears temporary output from the screen.

    Args:
        constants: hyperparameters that are equal in all trials and therefore not shown.
    """
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


def _ignore(record: Any) -> None:
    """Discard a record."""
