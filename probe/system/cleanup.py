"""Clean-up whose errors do not replace the error that it follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def cleanup(function: Callable[..., object], /, *args: Any) -> Iterator[None]:
    """Call `function(*args)` after the block. If the block raises, its error passes even if the call fails: after a sticky
    error of a GPU every call fails, with an error that says less."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            function(*args)
        raise
    function(*args)
