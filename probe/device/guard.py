"""Calls whose failures are values: running out of memory is an answer, not an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from probe.device.failures import Failure, find_failure
from probe.device.protocol import Device
from probe.errors import first_line

Returned = TypeVar("Returned")
Failed = TypeVar("Failed")


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """The reason why a call failed, without its exception: the frames of an exception keep tensors alive."""

    failure: Failure
    message: str
    """The first line of the error message."""


def guarded(call: Callable[[], Returned], failure_of: Callable[[Exception], Failed | None]) -> Returned | Failed:
    """Return `call()`, or if it raises, the value that `failure_of` gives for the exception; None raises it again.

    When this returns, the exception and its frames are gone, so that `Device.release` frees their tensors.
    """
    try:
        return call()
    except Exception as error:
        failed = failure_of(error)
        if failed is None:
            raise
    return failed


def within_memory(device: Device, call: Callable[[], Returned]) -> Returned | OutOfMemory:
    """Return `call()` with its allocations tracked, or OutOfMemory if the device or the host ran out of memory."""

    def tracked() -> Returned:
        with device.track():
            return call()

    return guarded(tracked, out_of_memory)


def out_of_memory(error: Exception) -> OutOfMemory | None:
    """OutOfMemory if `error`, or an exception that it wraps, is a lack of memory; None otherwise."""
    failure, cause = find_failure(error)
    return OutOfMemory(failure, first_line(cause)) if failure in ("oom", "host_oom") else None
