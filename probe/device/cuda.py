"""A CUDA device: peaks from PyTorch's caching allocator, memory in use on the whole device from NVML."""

from __future__ import annotations

import gc
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from itertools import pairwise

import torch

from probe.device import nvml
from probe.device.failures import classify_failure
from probe.device.protocol import GpuReport
from probe.device.select import VISIBLE_DEVICES, DeviceSpec
from probe.errors import DeviceError, first_line
from probe.records import DeviceMemory, MemoryReading, MemoryUser
from probe.units import format_bytes

_ASSUMED_CONTEXT_BYTES = 512 * 2**20
"""Assumed size of a CUDA context if it cannot be measured, because it exists already or NVML is not available."""


class CudaDevice:
    """A GPU that PyTorch calls `cuda:N`. `limit_bytes` is the size of a smaller GPU to emulate, until the end of the process.
    The limit applies to the caching allocator only, so the size of the context is subtracted from it. Raises DeviceError if the
    GPU cannot be used, or cannot emulate that size."""

    is_gpu = True
    is_asynchronous = True

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
                f"{self.torch_device} exists but cannot be used: {first_line(error)}",
                hint="Another program may use all of its memory; run nvidia-smi to see which.",
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
        self.reset_peaks()

    @property
    def name(self) -> str:
        real = f"{self._properties.name} ({self.torch_device})"
        emulated = self.memory.emulated_bytes
        return real if emulated is None else f"{real} emulating {format_bytes(emulated)}"

    @property
    def limit_bytes(self) -> int:
        return self.memory.offered_bytes

    @contextmanager
    def track(self) -> Iterator[None]:
        """Do nothing: the allocator always counts, and always enforces its limit."""
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
        self._num_retries_before = self._total_retries()

    def read_memory(self) -> MemoryReading:
        return MemoryReading(
            peak_allocated_bytes=torch.cuda.max_memory_allocated(self.torch_device),
            peak_reserved_bytes=torch.cuda.max_memory_reserved(self.torch_device),
            device_used_bytes=nvml.used_bytes(self._properties),
            device_total_bytes=self.limit_bytes,
            num_alloc_retries=self.num_alloc_retries(),
        )

    def num_alloc_retries(self) -> int:
        return self._total_retries() - self._num_retries_before

    def live_bytes(self) -> int:
        return torch.cuda.memory_allocated(self.torch_device)

    def release(self) -> None:
        gc.collect()
        torch.cuda.empty_cache()

    def _total_retries(self) -> int:
        return int(torch.cuda.memory_stats(self.torch_device).get("num_alloc_retries", 0))

    def _emulate(self, limit_bytes: int) -> None:
        total, context = self.memory.total_bytes, self.memory.context_bytes
        if not context < limit_bytes <= total:
            raise DeviceError(
                f"{self._properties.name} cannot emulate a GPU of {format_bytes(limit_bytes)}: it has "
                f"{format_bytes(total)}, and the CUDA context uses {format_bytes(context)} of it.",
                hint="Set --memory to a size between the two.",
            )
        torch.cuda.set_per_process_memory_fraction((limit_bytes - context) / total, self.torch_device)

    def _workspace_bytes(self) -> int | None:
        """Memory that cuBLAS takes from the allocator at the first matrix product and keeps (at::cuda::getChosenWorkspaceSize).
        None if even that does not fit; the first attempt then ends out of memory."""
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
    """Size of a CUDA context: the growth of the memory in use on the device, without the allocator's part. None if it is
    unknown: if another process has freed more in the meantime, or if the context existed before."""
    grown = 0 if before is None or after is None else after - before - reserved_bytes
    return grown if grown > 0 else None


def find_problem() -> str | None:
    """Why PyTorch cannot use any CUDA device here, as a sentence, or None if it can."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            problems = [_problem_of(index) for index in range(torch.cuda.device_count())]
            if None in problems:
                return None
            return f"{torch.cuda.get_device_name(0)} cannot be used: {problems[0]}. {_OTHER_BUILD}."
    if torch.version.cuda is None and torch.version.hip is None:
        return f"this PyTorch ({torch.__version__}) is built without CUDA."
    if caught:
        return f"PyTorch says: {first_line(str(caught[0].message))}"
    if os.environ.get(VISIBLE_DEVICES) in ("", "-1"):
        return f"the variable {VISIBLE_DEVICES} hides all GPUs."
    missing = nvml.nvml_problem()
    if missing is not None:
        return f"no working NVIDIA driver was found ({missing})."
    return f"there is a driver, but this PyTorch (for CUDA {torch.version.cuda}) finds no GPU that it can use."


def resolve(spec: DeviceSpec, *, measuring_memory: bool) -> DeviceSpec:
    """Check the index; the default is the first GPU that PyTorch has kernels for. Raises DeviceError if there is none."""
    gpus = list_gpus()
    if spec.index is not None and spec.index >= len(gpus):
        existing = ", ".join(f"{gpu.device} ({gpu.name})" for gpu in gpus)
        raise DeviceError(f"There is no cuda:{spec.index} here.", hint=f"Available: {existing}.")
    asked = gpus if spec.index is None else gpus[spec.index : spec.index + 1]
    usable = [gpu for gpu in asked if gpu.problem is None]
    if not usable:
        raise DeviceError(f"{asked[0].device} ({asked[0].name}) cannot be used: {asked[0].problem}.", hint=_OTHER_BUILD)
    return replace(spec, index=gpus.index(usable[0]))


_OTHER_BUILD = "Install a build of PyTorch for this GPU: https://pytorch.org/get-started/locally/"
_ARCHITECTURE = re.compile(r"(sm|compute)_(\d+)(\d)([af]?)")


def kernel_problem(capability: tuple[int, int], architectures: Sequence[str]) -> str | None:
    """Why kernels that were compiled for these architectures (torch.cuda.get_arch_list) do not run on a GPU of this compute
    capability, as a clause, or None if they do.

    Binary code (sm_80) runs on GPUs of the same major version and the same or a higher minor one, intermediate code
    (compute_90) on all of the same or a higher version, and code for special features (sm_90a) on that version only: CUDA
    C++ Programming Guide, "Application Compatibility".
    """
    found = [match.groups() for match in map(_ARCHITECTURE.fullmatch, architectures) if match]
    versions = [(kind, (int(major), int(minor)), special) for kind, major, minor, special in found]
    for kind, version, special in versions:
        is_newer = version <= capability and (kind == "compute" or version[0] == capability[0])
        if version == capability if special else is_newer:
            return None
    if not versions:  # other architectures, like AMD's
        return None
    known = ", ".join(f"{major}.{minor}" for major, minor in sorted({version for _, version, _ in versions}))
    return f"it has compute capability {capability[0]}.{capability[1]}, and this PyTorch has kernels for {known} only"


def open_device(spec: DeviceSpec) -> CudaDevice:
    return CudaDevice(spec.index or 0, limit_bytes=spec.limit_bytes)


def list_gpus() -> tuple[GpuReport, ...]:
    """All CUDA devices, without creating a context on any."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="torch.cuda")  # find_problem says it
        num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return tuple(_report(index) for index in range(num_gpus))


def _report(index: int) -> GpuReport:
    properties = torch.cuda.get_device_properties(index)
    used = nvml.used_bytes(properties)
    total = int(properties.total_memory)
    return GpuReport(
        device=f"cuda:{index}",
        name=properties.name,
        total_bytes=total,
        free_bytes=None if used is None else max(0, total - used),
        users=tuple(_user_text(user) for user in nvml.memory_users(properties)),
        problem=_problem_of(index),
    )


def _problem_of(index: int) -> str | None:
    properties = torch.cuda.get_device_properties(index)
    return kernel_problem((properties.major, properties.minor), torch.cuda.get_arch_list())


def _user_text(user: MemoryUser) -> str:
    used = f" ({format_bytes(user.used_bytes)})" if user.used_bytes else ""
    return f"{user.name or 'process'} {user.pid}{used}"
