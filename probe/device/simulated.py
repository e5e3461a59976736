"""Real training on the CPU under a byte limit: a GPU's out-of-memory error without the GPU."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from itertools import pairwise
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from probe.records import MemoryReading
from probe.units import format_bytes


class SimulatedDevice:
    """The CPU with every tensor storage counted that an operator allocates inside `track`, byte for byte.

    What is not counted: storages that existed before (the task's own data), scratch memory inside one operator, and the
    rounding and caching of a GPU's allocator. The CPU's operators may keep other tensors for the backward pass than
    CUDA's fused ones. The operator that passes the limit has run when the error is raised, so that the process may hold
    that operator's results on top of the limit for a moment.
    """

    torch_device = torch.device("cpu")
    memory = None
    workspace_bytes = None

    def __init__(self, limit_bytes: int) -> None:
        self._ledger = _Ledger(limit_bytes)
        self._mode: TorchDispatchMode | None = None

    @property
    def name(self) -> str:
        return f"CPU under a simulated limit of {format_bytes(self._ledger.limit_bytes)}"

    @property
    def limit_bytes(self) -> int:
        return self._ledger.limit_bytes

    @contextmanager
    def track(self) -> Iterator[None]:
        if self._mode is not None:  # inside already: counting once is enough
            yield
            return
        self._mode = _CountingMode(self._ledger)
        try:
            with self._mode:
                yield
        finally:
            self._mode = None

    def untracked(self) -> AbstractContextManager[None]:
        disabled: AbstractContextManager[None] = _disable_current_modes()
        return disabled

    def synchronize(self) -> None:
        """Work on the CPU is done when its call returns."""

    def mark(self) -> float:
        return time.perf_counter()

    def seconds_between(self, marks: Sequence[float]) -> tuple[float, ...]:
        return tuple(after - before for before, after in pairwise(marks))

    def reset_peaks(self) -> None:
        self._ledger.peak_bytes = self._ledger.live_bytes

    def read_memory(self) -> MemoryReading:
        peak = self._ledger.peak_bytes
        return MemoryReading(
            peak_allocated_bytes=peak, peak_reserved_bytes=peak, device_total_bytes=self._ledger.limit_bytes
        )

    def live_bytes(self) -> int:
        return self._ledger.live_bytes

    def release(self) -> None:
        gc.collect()


class _Ledger:
    """Sizes of the live storages by their address. A storage's entry goes when the storage is freed."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.live_bytes = 0
        self.peak_bytes = 0
        self._sizes: dict[int, int] = {}
        self._references: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def grows_by(self, tensor: torch.Tensor, *, is_new: bool) -> int:
        """Enter the storage of an operator's result; the bytes that it adds to what was known of it.

        A result that shares its storage with an argument (a view, an in-place operator) adds what the storage was resized
        by, and nothing where the storage is not one of ours.
        """
        storage = tensor.untyped_storage()
        address, size = storage._cdata, storage.nbytes()
        known = self._sizes.get(address)
        if known is None:
            if not is_new or size == 0:
                return 0
            self._references[address] = weakref.ref(storage, partial(self._forget, address))
            known = 0
        self._sizes[address] = size
        self.live_bytes += size - known
        return size - known

    def _forget(self, address: int, reference: weakref.ref[torch.UntypedStorage]) -> None:
        if self._references.get(address) is reference:
            del self._references[address]
            self.live_bytes -= self._sizes.pop(address)


class _CountingMode(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's base class is not annotated
    """Sees every operator below autograd: forward, backward, foreach and fused optimizers alike."""

    def __init__(self, ledger: _Ledger) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's base class is not annotated
        self._ledger = ledger

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **kwargs) if kwargs else func(*args)
        is_new = allocates(func)
        ledger = self._ledger
        before = ledger.live_bytes
        if isinstance(result, torch.Tensor):
            grown = self._enter(result, is_new)
        elif isinstance(result, (tuple, list)):
            grown = sum(self._enter(tensor, is_new) for tensor in _tensors(result))
        else:
            return result
        if grown > 0:
            if ledger.live_bytes > ledger.limit_bytes:
                del result
                raise torch.OutOfMemoryError(_out_of_memory(func, grown, before, ledger.limit_bytes))
            ledger.peak_bytes = max(ledger.peak_bytes, ledger.live_bytes)
        return result

    def _enter(self, tensor: torch.Tensor, is_new: bool) -> int:
        if tensor.layout is not torch.strided or tensor.device.type != "cpu":
            return 0  # sparse and meta tensors have no storage of their own; the parts of sparse ones were seen
        return self._ledger.grows_by(tensor, is_new=is_new)


@cache
def allocates(func: Any) -> bool:
    """Whether the operator's results have storages of their own, by its schema.

    `lift_fresh` is what `torch.tensor(...)` shows of itself: the one operator that says "alias" of a storage just made.
    """
    if func is torch.ops.aten.lift_fresh.default:
        return True
    return all(result.alias_info is None for result in func._schema.returns)


def _tensors(results: Sequence[Any]) -> Iterator[torch.Tensor]:
    for result in results:
        if isinstance(result, torch.Tensor):
            yield result
        elif isinstance(result, (tuple, list)):
            yield from _tensors(result)


def _out_of_memory(func: Callable[..., Any], num_bytes: int, in_use_bytes: int, limit_bytes: int) -> str:
    """Begins as CUDA's own message, by which the handlers of other programs know it: they compare texts."""
    return (
        f"CUDA out of memory. Simulated: tried to allocate {format_bytes(num_bytes)} for {func}. "
        f"{format_bytes(in_use_bytes)} in use of a limit of {format_bytes(limit_bytes)}."
    )
