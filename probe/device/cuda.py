"""A CUDA device: peaks from PyTorch's caching allocator, the whole device's use from NVML."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise

import torch

from probe.device import nvml
from probe.device.failures import classify_failure
from probe.errors import DeviceError, first_line
from probe.records import DeviceMemory, MemoryReading
from probe.units import format_bytes

_ASSUMED_CONTEXT_BYTES = 512 * 2**20
"""Of a CUDA context, where it cannot be measured because it is there already or NVML is not."""


class CudaDevice:
    """`limit_bytes` makes it stand in for a smaller card: an emulation, since the limit binds the caching allocator only
    (not the context, not other libraries). What the context takes is therefore subtracted from it.

    The limit holds from here to the end of the process.
    """

    def __init__(self, index: int, *, limit_bytes: int | None = None) -> None:
        self.torch_device = torch.device("cuda", index)
        had_context = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # not annotated by torch
        self._properties = torch.cuda.get_device_properties(index)
        before = nvml.used_bytes(self._properties)
        others = nvml.memory_users(self._properties)
        try:
            torch.empty(1, device=self.torch_device)
            torch.cuda.synchronize(self.torch_device)
        except RuntimeError as error:
            raise DeviceError(
                f"{self.torch_device} is there but cannot be used: {first_line(error)}",
                hint="Another program may hold all of its memory; nvidia-smi shows which.",
            ) from None
        after = nvml.used_bytes(self._properties)
        reserved = torch.cuda.memory_reserved(self.torch_device)
        measured = None if had_context else measured_context_bytes(before, after, reserved)
        self.memory = DeviceMemory(
            total_bytes=int(self._properties.total_memory),
            others_bytes=0 if had_context or before is None else before,
            others=others,
            context_bytes=_ASSUMED_CONTEXT_BYTES if measured is None else measured,
            context_is_measured=measured is not None,
            emulated_bytes=limit_bytes,
            is_integrated=bool(getattr(self._properties, "is_integrated", False)),
        )
        if limit_bytes is not None:
            self._emulate(limit_bytes)
        self.workspace_bytes = self._workspace_bytes()
        self._num_retries_before = 0
        self.reset_peaks()

    @property
    def name(self) -> str:
        real = f"{self._properties.name} ({self.torch_device})"
        emulated = self.memory.emulated_bytes
        return real if emulated is None else f"{real} standing in for {format_bytes(emulated)}"

    @property
    def limit_bytes(self) -> int:
        return self.memory.offered_bytes

    @contextmanager
    def track(self) -> Iterator[None]:
        """The allocator always counts, and its limit is always in force."""
        yield

    def untracked(self) -> AbstractContextManager[None]:
        return nullcontext()

    def synchronize(self) -> None:
        torch.cuda.synchronize(self.torch_device)

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # not annotated by torch
        event.record(torch.cuda.current_stream(self.torch_device))
        return event

    def seconds_between(self, marks: Sequence[torch.cuda.Event]) -> tuple[float, ...]:
        self.synchronize()
        return tuple(before.elapsed_time(after) / 1000 for before, after in pairwise(marks))

    def reset_peaks(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.torch_device)
        self._num_retries_before = self._num_retries()

    def read_memory(self) -> MemoryReading:
        return MemoryReading(
            peak_allocated_bytes=torch.cuda.max_memory_allocated(self.torch_device),
            peak_reserved_bytes=torch.cuda.max_memory_reserved(self.torch_device),
            device_used_bytes=nvml.used_bytes(self._properties),
            device_total_bytes=self.limit_bytes,
            num_alloc_retries=self._num_retries() - self._num_retries_before,
        )

    def live_bytes(self) -> int:
        return torch.cuda.memory_allocated(self.torch_device)

    def release(self) -> None:
        gc.collect()
        torch.cuda.empty_cache()

    def _num_retries(self) -> int:
        return int(torch.cuda.memory_stats(self.torch_device).get("num_alloc_retries", 0))

    def _emulate(self, limit_bytes: int) -> None:
        total, context = self.memory.total_bytes, self.memory.context_bytes
        if not context < limit_bytes <= total:
            raise DeviceError(
                f"{self._properties.name} cannot stand in for a card of {format_bytes(limit_bytes)}: it has "
                f"{format_bytes(total)}, of which the CUDA context alone takes {format_bytes(context)}.",
                hint="Give --memory a size between the two.",
            )
        torch.cuda.set_per_process_memory_fraction((limit_bytes - context) / total, self.torch_device)

    def _workspace_bytes(self) -> int | None:
        """What cuBLAS takes of the allocator with the first matrix product and keeps (at::cuda::getChosenWorkspaceSize).

        None where there is no room even for that: then the first attempt says so, in its record.
        """
        before = torch.cuda.memory_allocated(self.torch_device)
        try:
            matrix = torch.ones(16, 16, device=self.torch_device)
            product = matrix @ matrix
            torch.cuda.synchronize(self.torch_device)
        except RuntimeError as error:
            if classify_failure(error) != "oom":
                raise
            return None
        del matrix, product
        return torch.cuda.memory_allocated(self.torch_device) - before


def measured_context_bytes(before: int | None, after: int | None, reserved_bytes: int) -> int | None:
    """Of a CUDA context, from what was used on the device before and after it was made; None where that does not tell.

    `reserved_bytes` of it belong to the allocator. Nothing is told where another process gave back more meanwhile, or where
    the context was there before.
    """
    grown = 0 if before is None or after is None else after - before - reserved_bytes
    return grown if grown > 0 else None
