"""GPUs and predicted peaks for tests of packing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from probe.device.select import device_limit
from probe.errors import UserCodeError
from probe.search.executors.protocol import Resources

GIB = 2**30


PEAKS = st.none() | st.integers(1, 20 * GIB)


class PredictingExecutor:
    """Runs predictions in this process, as if it had GPUs."""

    slots_by_gpu: tuple[int, ...] = (2,)
    limits: tuple[int | None, ...] = (8 * GIB,)

    @property
    def resources(self) -> Resources:
        return Resources(slots_by_gpu=self.slots_by_gpu, idle_by_gpu=(1,) * len(self.slots_by_gpu))

    def run(self, function: Callable[..., Any], *args: Any, on: str) -> Any:
        if on == "every_gpu":
            assert function is device_limit
            return list(self.limits)
        assert on == "beside"
        try:
            return function(*args)
        except ZeroDivisionError as error:
            raise UserCodeError(str(error), traceback="theirs") from None
