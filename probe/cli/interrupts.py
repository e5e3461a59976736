"""How a command ends when it is interrupted: politely after the first signal, at once after a second one."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from probe.cli.live.progress import wants_live
from probe.system.interrupts import INTERRUPTS, handle_interrupts

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

REPEAT_SECONDS = 1.0
"""Signals that arrive sooner after the first one belong to it: `timeout` and closing terminals send the same signal twice."""
_RAISE_AGAIN_SECONDS = 0.1
_SHOW_CURSOR = b"\x1b[?25h"


class _Interrupt:
    """The first signal that this process received."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.is_held = False
        self.is_raised_again = False

    def handle(self, number: int, frame: Any) -> None:
        """Raise KeyboardInterrupt for the first signal."""
        is_first = self.number is None
        if is_first:
            self.number = number
            _ignore_dead_children()
        if (is_first or self.is_raised_again) and not self.is_held:
            self.is_raised_again = False
            raise KeyboardInterrupt

    def raise_again(self, ignored: UnraisableHookArgs) -> None:
        """Raise KeyboardInterrupt once more if it was raised where Python ignores exceptions, as in `__del__`."""
        if self.number is None or not issubclass(ignored.exc_type, KeyboardInterrupt):
            sys.__unraisablehook__(ignored)
            return
        self.is_raised_again = True
        # Not now, when Python would ignore it again.
        threading.Timer(_RAISE_AGAIN_SECONDS, _thread.interrupt_main, [self.number]).start()


_interrupt = _Interrupt()


def install_handlers() -> None:
    """Let the first SIGINT, SIGTERM or SIGHUP raise KeyboardInterrupt in the main thread, once, and a second one end the
    process, also if the main thread never returns from a function in C."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    threading.Thread(target=_end_after_second, args=(reading,), daemon=True).start()
    sys.unraisablehook = _interrupt.raise_again
    handle_interrupts(_interrupt.handle)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)


def hold_interrupts() -> None:
    """From now on, do not raise KeyboardInterrupt: all is measured, and what is left is to write it."""
    _interrupt.is_held = True


def was_interrupted() -> bool:
    """Return whether this process received a signal that asks it to end."""
    return _interrupt.number is not None


def interrupted_exit_code() -> int:
    """Return the exit code that shells expect of an interrupted command: 128 + signal, which is 130 for Ctrl-C."""
    return 128 + (_interrupt.number or signal.SIGINT)


def interrupted_text() -> str:
    """Return `Interrupted.`, with the name of the signal unless it is that of Ctrl-C."""
    number = _interrupt.number
    return f"Interrupted by {signal.Signals(number).name}." if number not in (None, signal.SIGINT) else "Interrupted."


def _end_after_second(signals: int) -> None:
    first: float | None = None
    while True:
        for number in os.read(signals, 64):
            if number not in INTERRUPTS:
                continue
            now = time.monotonic()
            first = now if first is None else first
            if now - first >= REPEAT_SECONDS:
                with suppress(OSError):
                    if wants_live(sys.stderr, os.environ):
                        os.write(2, _SHOW_CURSOR)  # a live view hides it
                os._exit(128 + number)


def _ignore_dead_children() -> None:
    """Whoever interrupts a process group ends the workers of a DataLoader as well, which PyTorch reports as an error."""
    if hasattr(signal, "SIGCHLD") and callable(signal.getsignal(signal.SIGCHLD)):
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
