"""Signals that ask a process to end: SIGINT (Ctrl-C), SIGTERM (`timeout`, Slurm, `docker stop`), SIGHUP (a closed terminal)."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any

INTERRUPTS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Windows has no SIGHUP."""

Handler = Callable[[int, Any], object]


def handle_interrupts(handler: Handler) -> None:
    """Install `handler` for all interrupts. One that is ignored, as SIGHUP by `nohup`, stays ignored. Processes that this one
    forks or starts get the earlier handlers, so that `terminate()` still ends them."""
    before = {number: signal.getsignal(number) for number in INTERRUPTS}
    replaced = {number: known for number, known in before.items() if known not in (signal.SIG_IGN, None)}
    if hasattr(os, "register_at_fork"):
        _give_back_in_forks(replaced)
    for number in replaced:
        signal.signal(number, handler)


def ignore_interrupts() -> None:
    """Make this process ignore interrupts. SIG_IGN would do so for all processes that it starts as well."""
    handle_interrupts(lambda number, frame: None)
    if hasattr(signal, "siginterrupt"):
        for number in INTERRUPTS:
            signal.siginterrupt(number, False)


def _give_back_in_forks(handlers: Mapping[int, Any]) -> None:
    """Let forked processes start with `handlers`. A signal to one that has not got them yet waits until then."""
    masks = threading.local()

    def block() -> None:
        masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.before)

    def give_back() -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        unblock()

    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=give_back)
