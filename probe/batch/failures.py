"""What an exception says about the batch size that was tried."""

from __future__ import annotations

from dataclasses import dataclass

from probe.batch.records import Outcome
from probe.device.failures import find_failure
from probe.errors import ProbeError, UserCodeError, first_line, user_code_error


@dataclass(frozen=True, slots=True)
class Failed:
    """Why an attempt, or a part of it, failed: without the exception, whose frames keep tensors alive."""

    outcome: Outcome
    message: str
    traceback: str | None = None


def failed_by(error: Exception) -> Failed | None:
    """What `error` says; None for probe's own errors, which have nothing to do with the size."""
    failure, culprit = find_failure(error)
    if failure in ("oom", "host_oom"):
        return Failed(failure, first_line(culprit))
    if isinstance(error, ProbeError) and not isinstance(error, UserCodeError):
        return None
    told = error if isinstance(error, UserCodeError) else user_code_error(f"{type(error).__name__}: {error}", error)
    return Failed(failure or "error", told.message, told.traceback)
