"""A GPU through `torch.accelerator`, PyTorch's interface to all kinds of GPUs. Kinds without a module of their own are opened
here; `cuda.py` adds what NVIDIA's libraries know. What a kind does not report is None, like the memory of MPS devices in older
versions of PyTorch (pytorch/pytorch#167447)."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import pairwise

import torch

from probe.device.failures import classify_failure, guarded, out_of_memory
from probe.device.protocol import GpuReport, untested_text
from probe.device.select import NO_GPU_HINT, DeviceSpec
from probe.errors import DeviceError, first_line
from probe.records import ASSUMED_CONTEXT_BYTES, DeviceMemory, MemoryReading, MemoryUser, Precision
from probe.units import format_bytes


class AcceleratorDevice:
    """An open GPU, after `start`. PyTorch's caching allocator counts its memory and enforces its limit."""

    is_gpu = True
    is_asynchronous = True

    def __init__(
        self,
        torch_device: torch.device,
        *,
        name: str,
        memory: DeviceMemory | None,
        workspace_bytes: int | None,
        untested: str | None = None,
        precision_warnings: Mapping[Precision, str] | None = None,
    ) -> None:
        """`name` is that of the real GPU, `untested` as in GpuReport; `precision_warnings` has a sentence for each precision
        that the GPU lacks."""
        self.torch_device = torch_device
        self.memory = memory
        self.workspace_bytes = workspace_bytes
        self._real_name = name
        self._untested = untested
        self._precision_warnings = precision_warnings or {}
        self._num_retries_before = 0
        self.reset_peaks()

    @property
    def name(self) -> str:
        emulated = None if self.memory is None else self.memory.emulated_bytes
        return self._real_name if emulated is None else f"{self._real_name} emulating {format_bytes(emulated)}"

    @property
    def limit_bytes(self) -> int | None:
        return None if self.memory is None else self.memory.offered_bytes

    def warnings(self, precision: Precision) -> tuple[str, ...]:
        untested = [] if self._untested is None else [untested_text(self._untested)]
        emulated = self._precision_warnings.get(precision)
        return (*untested, *([] if emulated is None else [emulated]))

    def track(self) -> AbstractContextManager[None]:
        """Do nothing: the allocator always counts, and always enforces its limit."""
        return nullcontext()

    def untracked(self) -> AbstractContextManager[None]:
        return nullcontext()

    def synchronize(self) -> None:
        torch.accelerator.synchronize(self.torch_device)

    def mark(self) -> torch.Event:
        event = torch.Event(self.torch_device, enable_timing=True)
        event.record()
        return event

    def seconds_between(self, marks: Sequence[torch.Event]) -> tuple[float, ...]:
        self.synchronize()
        return tuple(before.elapsed_time(after) / 1000 for before, after in pairwise(marks))

    def reset_peaks(self) -> None:
        if _memory_stats(self.torch_device) is not None:
            torch.accelerator.reset_peak_memory_stats(self.torch_device)
        self._num_retries_before += self.num_alloc_retries()

    def read_memory(self) -> MemoryReading | None:
        stats, info = _memory_stats(self.torch_device), _memory_info(self.torch_device)
        if stats is None:
            return None
        allocated = stats["allocated_bytes.all.peak"]
        return MemoryReading(
            peak_allocated_bytes=allocated,
            peak_reserved_bytes=max(allocated, stats["reserved_bytes.all.peak"]),
            device_used_bytes=None if info is None else info[1] - info[0],
            device_total_bytes=self.limit_bytes,
            num_alloc_retries=self.num_alloc_retries(),
        )

    def num_alloc_retries(self) -> int:
        stats = _memory_stats(self.torch_device)
        return 0 if stats is None else stats["num_alloc_retries"] - self._num_retries_before

    def live_bytes(self) -> int | None:
        stats = _memory_stats(self.torch_device)
        return None if stats is None else stats["allocated_bytes.all.current"]

    def release(self) -> None:
        gc.collect()
        if _memory_stats(self.torch_device) is not None:
            torch.accelerator.empty_cache()


def start(spec: DeviceSpec) -> tuple[torch.device, int | None]:
    """Make a device the current one, create the context of this process on it, and load kernels, which drivers put into the
    context when one is first used. Returns the device and its `workspace_bytes`. Raises DeviceError if it cannot be used."""
    device = torch.device(spec.kind, spec.index or 0)
    try:
        torch.accelerator.set_device_index(device)  # what "cuda" means to a task
        torch.empty(1, device=device)
        before = _memory_stats(device)
        failed = guarded(lambda: _multiply(device), out_of_memory)
        after = _memory_stats(device)
    except RuntimeError as error:
        others_hint = "Another program may use all of its memory: `probe devices` lists those that are known."
        raise DeviceError(
            f"{spec} exists but cannot be used: {first_line(error)}",
            hint=others_hint if classify_failure(error) == "oom" else None,
        ) from None
    if failed is not None or before is None or after is None:  # without room, the first attempt ends out of memory
        return device, None
    return device, after["allocated_bytes.all.current"] - before["allocated_bytes.all.current"]


def _multiply(device: torch.device) -> None:
    """At its first product, a handle of cuBLAS takes its workspace from the allocator (at::cuda::getChosenWorkspaceSize)."""
    matrix = torch.ones(16, 16, device=device)
    _ = matrix @ matrix
    torch.accelerator.synchronize(device)


def device_memory(
    device: torch.device,
    *,
    free_bytes: int,
    total_bytes: int,
    context_bytes: int | None = None,
    others: tuple[MemoryUser, ...] = (),
    emulated_bytes: int | None = None,
    is_integrated: bool = False,
) -> DeviceMemory:
    """State of the memory of a device after `start`. What is neither free nor the allocator's nor the context's is used by
    others. The size of the context is assumed unless it is given."""
    stats = _memory_stats(device)
    reserved_bytes = 0 if stats is None else stats["reserved_bytes.all.current"]
    known_bytes = ASSUMED_CONTEXT_BYTES if context_bytes is None else context_bytes
    return DeviceMemory(
        total_bytes=total_bytes,
        others_bytes=max(0, total_bytes - free_bytes - reserved_bytes - known_bytes),
        others=others,
        context_bytes=known_bytes,
        context_is_measured=context_bytes is not None,
        emulated_bytes=emulated_bytes,
        is_integrated=is_integrated,
    )


def find_problem(kind: str) -> str | None:
    """See GpuModule."""
    built = torch.accelerator.current_accelerator()
    if built is None or built.type != kind:
        return f"this PyTorch ({torch.__version__}) is built without {kind.upper()}."
    if not torch.accelerator.is_available():
        return f"this PyTorch ({torch.__version__}) finds no {kind.upper()} device that it can use."
    return None


def list_gpus(kind: str) -> tuple[GpuReport, ...]:
    """See GpuModule. Neither the memory of the GPUs nor its users are known without creating a context."""
    found = 0 if find_problem(kind) is not None else torch.accelerator.device_count()
    devices = [torch.device(kind, index) for index in range(found)]
    return tuple(GpuReport(device=str(each), name=_title(each), untested=_title_of_kind(kind)) for each in devices)


def resolve(spec: DeviceSpec, *, measuring_memory: bool) -> DeviceSpec:
    """Check the index. Raises DeviceError for a memory limit, because `torch.accelerator` cannot set one."""
    found = choose_gpu(spec, list_gpus(spec.kind), hint="")
    if spec.limit_bytes is not None:
        raise DeviceError(
            f"{found} cannot be limited to {format_bytes(spec.limit_bytes)}: PyTorch limits only CUDA devices alike.",
            hint=f"Remove --memory to measure with the whole memory of the GPU. {NO_GPU_HINT}",
        )
    return found


def choose_gpu(spec: DeviceSpec, gpus: Sequence[GpuReport], *, hint: str) -> DeviceSpec:
    """The GPU with the index of `spec`, by default the first that can be used. Raises DeviceError if there is none, with
    `hint` if it cannot be used."""
    if spec.index is not None and spec.index >= len(gpus):
        existing = ", ".join(f"{gpu.device} ({gpu.name})" for gpu in gpus)
        raise DeviceError(f"There is no {spec} here.", hint=f"Available: {existing}.")
    asked = gpus if spec.index is None else gpus[spec.index : spec.index + 1]
    usable = [gpu for gpu in asked if gpu.problem is None]
    if not usable:
        raise DeviceError(f"{asked[0].device} ({asked[0].name}) cannot be used: {asked[0].problem}.", hint=hint)
    return replace(spec, index=gpus.index(usable[0]))


def open_device(spec: DeviceSpec) -> AcceleratorDevice:
    device, workspace_bytes = start(spec)
    info = _memory_info(device)
    return AcceleratorDevice(
        device,
        name=f"{_title(device)} ({spec})",
        memory=None if info is None else device_memory(device, free_bytes=info[0], total_bytes=info[1]),
        workspace_bytes=workspace_bytes,
        untested=_title_of_kind(spec.kind),
    )


def _title(device: torch.device) -> str:
    """Name of the model of a GPU, or of its kind if PyTorch does not know it."""
    name_of = getattr(torch.get_device_module(device), "get_device_name", None)
    return f"{device.type.upper()} device" if name_of is None else str(name_of(device))


def _title_of_kind(kind: str) -> str:
    return f"{kind.upper()} devices"


def _memory_stats(device: torch.device) -> Mapping[str, int] | None:
    """Statistics of the caching allocator, or None if PyTorch has none for this kind of device."""
    with contextlib.suppress(RuntimeError):
        return torch.accelerator.memory_stats(device) or None
    return None


def _memory_info(device: torch.device) -> tuple[int, int] | None:
    """Free and total memory of a device on which this process has a context, or None if unknown."""
    with contextlib.suppress(RuntimeError):
        return torch.accelerator.get_memory_info(device)
    return None
