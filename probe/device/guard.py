"""A call that may be too large for the device's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from probe.device.failures import is_out_of_memory
from probe.device.protocol import Device

Made = TypeVar("Made")


def within_memory(device: Device, call: Callable[[], Made]) -> tuple[bool, Made | None]:
    """Whether memory was enough for `call`, and what it returned. Everything but a lack of memory passes through."""
    try:
        with device.track():
            return True, call()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    # Outside of the handler, where the frames that hold the tensors are gone.
    return False, None
