"""GPUs and predicted peaks for tests of packing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from probe.device.select import device_limit
from probe.errors import UserCodeError

GIB = 2**30


PEAKS = st.none() | st.integers(1, 20 * GIB)


class Foreseeing:
    """Of an executor what a room asks: calls in this process, no GPU behind it."""

    slots_by_gpu: tuple[int, ...] = (2,)
    limits: tuple[int | None, ...] = (8 * GIB,)

    def num_idle(self, gpu: int) -> int:
        return 1

    def call_each(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        assert function is device_limit
        return list(self.limits)

    def call_beside(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        except ZeroDivisionError as error:
            raise UserCodeError(str(error), traceback="theirs") from None
