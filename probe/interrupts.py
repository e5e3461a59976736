"""Signals that ask a process to end: SIGINT (Ctrl-C), SIGTERM (`timeout`, Slurm, `docker stop`), SIGHUP (a closed terminal)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

INTERRUPTS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Their numbers. Windows has no SIGHUP."""

Handler = Callable[[int, Any], object]


def handle_interrupts(handler: Handler) -> None:
    """Install `handler` for all interrupts. One that is ignored, as SIGHUP by `nohup`, stays ignored. Processes that this one
    forks or starts get the earlier handlers, so that `terminate()` still ends them."""
    before = {number: signal.getsignal(number) for number in INTERRUPTS}
    replaced = {number: known for number, known in before.items() if known not in (signal.SIG_IGN, None)}
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=partial(_restore, replaced))
    for number in replaced:
        signal.signal(number, handler)


def ignore_interrupts() -> None:
    """Make this process ignore interrupts. SIG_IGN would do so for all processes that it starts as well."""
    handle_interrupts(lambda number, frame: None)
    if hasattr(signal, "siginterrupt"):
        for number in INTERRUPTS:
            signal.siginterrupt(number, False)


def _restore(handlers: Mapping[int, Any]) -> None:
    signal.set_wakeup_fd(-1)
    for number, handler in handlers.items():
        signal.signal(number, handler)
