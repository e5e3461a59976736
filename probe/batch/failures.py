"""What an exception shows about the batch size that was tried."""

from __future__ import annotations

from dataclasses import dataclass

from probe.batch.records import Outcome
from probe.device.failures import find_failure
from probe.errors import ProbeError, UserCodeError, first_line, user_code_error


@dataclass(frozen=True, slots=True)
class Failed:
    """Why an attempt, or a part of it, failed. It does not hold the exception, whose frames keep tensors alive."""

    outcome: Outcome
    message: str
    traceback: str | None = None


def failed_by(error: Exception) -> Failed | None:
    """Return the failure that `error` shows, or None for probe's own errors, which do not depend on the batch size."""
    failure, culprit = find_failure(error)
    if failure in ("oom", "host_oom"):
        return Failed(failure, first_line(culprit))
    if isinstance(error, ProbeError) and not isinstance(error, UserCodeError):
        return None
    wrapped = error if isinstance(error, UserCodeError) else user_code_error(f"{type(error).__name__}: {error}", error)
    return Failed(failure or "error", wrapped.message, wrapped.traceback)
