"""How a child process died, and what that says about its cause."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from probe.errors import ProbeError
from probe.units import format_bytes

SAVE_MEMORY = "Use fewer --workers, smaller batches, or fewer num_workers of the loaders."
"""Hint after a lack of host memory."""


@dataclass(frozen=True, slots=True)
class Died:
    """The child died. `exit_code` is negative for a signal."""

    exit_code: int
    stderr: str = ""
    """The end of the child's output, including the user's prints."""
    free_bytes: int | None = None
    """Free memory of the machine right after the death; None if it was not read."""

    @property
    def signal(self) -> int | None:
        return -self.exit_code if self.exit_code < 0 else None

    @property
    def lacked_memory(self) -> bool:
        """Whether it died of signal 9, by which the system frees memory when there is none left."""
        return self.signal == 9

    @property
    def summary(self) -> str:
        """`was killed by SIGSEGV` or `exited with code 3`. For signal 9, also the likely cause and the free memory."""
        if self.signal is None:
            return f"exited with code {self.exit_code}"
        known = self.signal in {member.value for member in signal.Signals}
        text = f"was killed by {signal.Signals(self.signal).name if known else f'signal {self.signal}'}"
        if not self.lacked_memory:
            return text
        free = "" if self.free_bytes is None else f" ({format_bytes(self.free_bytes)} of memory were free afterwards)"
        return f"{text}, most likely by the system's out-of-memory killer{free}"

    @property
    def description(self) -> str:
        """The summary, with the end of the child's output on further lines."""
        return f"{self.summary}\n{self.stderr.strip()}" if self.stderr.strip() else self.summary


class WorkerDied(ProbeError):  # noqa: N818  # it names an event
    """The child died before or during a call."""

    def __init__(self, died: Died) -> None:
        super().__init__(f"A worker process {died.description}", hint=SAVE_MEMORY if died.lacked_memory else None)
        self.died = died
