"""CUDA devices: what `torch.cuda` and NVML know about NVIDIA's GPUs, and AMD's, which PyTorch calls by the same name."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence

import torch

from probe.device import nvml
from probe.device.accelerator import AcceleratorDevice, choose_gpu, device_memory, start
from probe.device.protocol import GpuReport
from probe.device.select import VISIBLE_DEVICES, DeviceSpec
from probe.errors import DeviceError, first_line
from probe.records import DeviceMemory, MemoryUser, Precision
from probe.system.host_memory import free_memory_bytes
from probe.units import format_bytes

_NO_NATIVE: Mapping[Precision, str] = {
    "bf16": "{gpu} has no bf16 arithmetic, so PyTorch emulates it, which is slow: prefer fp16 or fp32 there.",
    "tf32": "{gpu} has no tf32 arithmetic: tf32 is fp32 there.",
}
"""Warnings about precisions that GPUs before NVIDIA's Ampere generation lack."""


def open_device(spec: DeviceSpec) -> AcceleratorDevice:
    """Open a GPU that PyTorch calls `cuda:N`. The limit of `spec` is the size of a smaller GPU to emulate, until the end of the
    process. It applies to the caching allocator only, so the size of the context is subtracted from it. Raises DeviceError if
    the GPU cannot be used, or cannot emulate that size."""
    properties = torch.cuda.get_device_properties(spec.index or 0)
    has_context = torch._C._cuda_hasPrimaryContext(spec.index or 0)  # type: ignore[attr-defined]  # not public
    before, others = nvml.used_bytes(properties), nvml.memory_users(properties)
    device, workspace_bytes = start(spec)
    after, reserved = nvml.used_bytes(properties), torch.cuda.memory_reserved(device)
    free_bytes, total_bytes = torch.cuda.mem_get_info(device)
    is_integrated = bool(properties.is_integrated)
    if is_integrated:  # the driver does not count the host's memory that can be reclaimed, like that of cached files
        free_bytes = min(total_bytes, max(free_bytes, free_memory_bytes()))
    memory = device_memory(
        device,
        free_bytes=free_bytes,
        total_bytes=total_bytes,
        context_bytes=None if has_context else measured_context_bytes(before, after, reserved),
        others=others,
        emulated_bytes=spec.limit_bytes,
        is_integrated=is_integrated,
    )
    if spec.limit_bytes is not None:
        _emulate(spec.limit_bytes, device, properties.name, memory)
    return AcceleratorDevice(
        device,
        name=f"{properties.name} ({spec})",
        memory=memory,
        workspace_bytes=workspace_bytes,
        untested=_untested(),
        precision_warnings=_precision_warnings(properties.name),
    )


def _emulate(limit_bytes: int, device: torch.device, title: str, memory: DeviceMemory) -> None:
    total, context = memory.total_bytes, memory.context_bytes
    if not context < limit_bytes <= total:
        raise DeviceError(
            f"{title} cannot emulate a GPU of {format_bytes(limit_bytes)}: it has {format_bytes(total)}, and the CUDA context "
            f"uses {format_bytes(context)} of it.",
            hint="Set --memory to a size between the two.",
        )
    torch.cuda.set_per_process_memory_fraction((limit_bytes - context) / total, device)


def _precision_warnings(title: str) -> Mapping[Precision, str]:
    if torch.cuda.is_bf16_supported(including_emulation=False):  # of the current device
        return {}
    return {precision: text.format(gpu=title) for precision, text in _NO_NATIVE.items()}


def _untested() -> str | None:
    return None if torch.version.hip is None else f"AMD GPUs (ROCm {torch.version.hip})"


def measured_context_bytes(before: int | None, after: int | None, reserved_bytes: int) -> int | None:
    """Size of a CUDA context: the growth of the memory in use on the device, without the allocator's part. None if it is
    unknown: if another process has freed more in the meantime, or if the context existed before."""
    grown = 0 if before is None or after is None else after - before - reserved_bytes
    return grown if grown > 0 else None


def find_problem(kind: str = "cuda") -> str | None:
    """Why PyTorch cannot use any CUDA device here, as a sentence, or None if it can."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        problems = [_problem_of(index) for index in range(num_gpus)]
        if None in problems:
            return None
        if problems:
            return f"{torch.cuda.get_device_name(0)} cannot be used: {problems[0]}. {_OTHER_BUILD}."
    if torch.version.cuda is None and torch.version.hip is None:
        return f"this PyTorch ({torch.__version__}) is built without CUDA."
    if torch.version.hip is not None:
        return f"this PyTorch (for ROCm {torch.version.hip}) finds no GPU that it can use."
    if caught:
        return f"PyTorch says: {first_line(str(caught[0].message))}"
    if os.environ.get(VISIBLE_DEVICES) in ("", "-1"):
        return f"the variable {VISIBLE_DEVICES} hides all GPUs."
    missing = nvml.nvml_problem()
    if missing is not None:
        return f"no working NVIDIA driver was found ({missing})."
    if VISIBLE_DEVICES in os.environ:
        return f"the variable {VISIBLE_DEVICES} is {os.environ[VISIBLE_DEVICES]!r}, which names no GPU of this machine."
    return f"there is a driver, but this PyTorch (for CUDA {torch.version.cuda}) finds no GPU that it can use."


def resolve(spec: DeviceSpec, *, measuring_memory: bool) -> DeviceSpec:
    """Check the index; the default is the first GPU that PyTorch has kernels for. Raises DeviceError if there is none."""
    return choose_gpu(spec, list_gpus(), hint=_OTHER_BUILD)


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


def list_gpus(kind: str = "cuda") -> tuple[GpuReport, ...]:
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
        untested=_untested(),
    )


def _problem_of(index: int) -> str | None:
    properties = torch.cuda.get_device_properties(index)
    return kernel_problem((properties.major, properties.minor), torch.cuda.get_arch_list())


def _user_text(user: MemoryUser) -> str:
    used = f" ({format_bytes(user.used_bytes)})" if user.used_bytes else ""
    return f"{user.name or 'process'} {user.pid}{used}"
