"""What a command shows while it works: a live view on a terminal, plain lines anywhere else. All of it goes to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, TextIO

Observer = Callable[[Any], None]
"""Called with what a probe reports on its way: attempts, steps, rungs, trials."""

Kind = Literal["batch", "lr", "search", "train"]


def open_progress(kind: Kind, *, quiet: bool, constants: Collection[str] = ()) -> AbstractContextManager[Observer]:
    """The observer for one run of the probe `kind`; leaving the context clears the screen of what was passing.

    Hyperparameters among `constants` are the same in every trial and are not shown.
    """
    if quiet:
        return nullcontext(_ignore)
    if wants_live(sys.stderr, os.environ):
        from probe.cli.live.live import open_live

        return open_live(kind, constants)
    from probe.cli.live.plain import PlainLines

    return nullcontext(PlainLines(constants))


def waiting(reason: str, *, quiet: bool) -> AbstractContextManager[object]:
    """A sign of life on a terminal while something takes seconds of its own, like importing PyTorch."""
    if quiet or not wants_live(sys.stderr, os.environ):
        return nullcontext()
    from probe.cli.live.live import open_waiting

    return open_waiting(reason)


def wants_live(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether lines on `stream` may be redrawn: a terminal that can, with nobody asking for plain text.

    NO_COLOR counts where it is set and not empty (https://no-color.org), CI where it is set at all.
    """
    return stream.isatty() and not environ.get("NO_COLOR") and "CI" not in environ and environ.get("TERM") != "dumb"


def _ignore(record: Any) -> None:
    """Quiet."""
