"""Training on the CPU under a byte limit: out-of-memory errors like those of a GPU, without a GPU."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from probe.device.cpu import CpuDevice
from probe.device.environment import check_limit
from probe.device.select import DeviceSpec
from probe.records import MemoryReading
from probe.units import format_bytes


class SimulatedDevice(CpuDevice):
    """The CPU, with every tensor storage counted that an operator allocates inside `track`, byte for byte.

    Not counted: storages that existed before (the data of the task), scratch memory inside an operator, and the rounding and
    caching of a GPU's allocator. Operators on the CPU may save other tensors for the backward pass than CUDA's fused ones. The
    error is raised after the operator that exceeds the limit has run.
    """

    limit_bytes: int

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.name = f"CPU under a simulated limit of {format_bytes(limit_bytes)}"
        self._ledger = _Ledger(limit_bytes)
        self._mode: TorchDispatchMode | None = None

    @contextmanager
    def track(self) -> Iterator[None]:
        if self._mode is not None:  # nested: count only once
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

    def reset_peaks(self) -> None:
        self._ledger.peak_bytes = self._ledger.live_bytes

    def read_memory(self) -> MemoryReading:
        peak = self._ledger.peak_bytes
        return MemoryReading(peak_allocated_bytes=peak, peak_reserved_bytes=peak, device_total_bytes=self.limit_bytes)

    def live_bytes(self) -> int:
        return self._ledger.live_bytes


def resolve(spec: DeviceSpec, *, measuring_memory: bool) -> DeviceSpec:
    """Check the limit against the memory of this machine. Raises DeviceError if it is too large."""
    return replace(spec, limit_bytes=check_limit(spec.limit_bytes))


def open_device(spec: DeviceSpec) -> SimulatedDevice:
    return SimulatedDevice(check_limit(None) if spec.limit_bytes is None else spec.limit_bytes)


class _Ledger:
    """Sizes of the live storages by address. An entry is removed when its storage is freed."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.live_bytes = 0
        self.peak_bytes = 0
        self._sizes: dict[int, int] = {}
        self._references: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def grows_by(self, tensor: torch.Tensor, *, is_new: bool) -> int:
        """Record the storage of an operator's result, and return the bytes that it adds: its size if the operator allocates it
        (`is_new`), else the bytes by which a counted storage was resized."""
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
    """Intercepts every operator below autograd: forward, backward, foreach and fused optimizers."""

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
            return 0  # meta tensors have no storage; the components of sparse tensors were counted when they were made
        return self._ledger.grows_by(tensor, is_new=is_new)


@cache
def allocates(func: Any) -> bool:
    """Whether the operator allocates storages for its results, according to its schema. `lift_fresh`, the operator of
    `torch.tensor(...)`, is the one exception: its schema declares an alias of a new storage."""
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
    """A message that starts like that of CUDA, because the handlers of other programs search for its text."""
    return (
        f"CUDA out of memory. Simulated: tried to allocate {format_bytes(num_bytes)} for {func}. "
        f"{format_bytes(in_use_bytes)} in use of a limit of {format_bytes(limit_bytes)}."
    )
