"""From what the user typed to an open device. torch is imported only where a device is looked for or opened."""

from __future__ import annotations

import os
import re
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from probe.device.host_memory import SHARE_FOR_TENSORS, free_memory_bytes
from probe.device.nvml import nvml_problem
from probe.errors import DeviceError, UsageError, first_line
from probe.units import format_bytes, parse_bytes

if TYPE_CHECKING:
    from probe.device.protocol import Device

_FORMS = (
    "Devices: auto, cpu, cuda, cuda:N, simulated:SIZE (real training on the CPU under a limit, like simulated:1GiB)."
)
NO_GPU_HINT = (
    "With --device simulated:SIZE (like simulated:8GiB) probe trains on the CPU under that limit instead; "
    "--device cpu measures the CPU itself."
)
_GPU_FILES = ("nvidia*", "nvhost*", "nvmap", "kfd", "dxg")
"""NVIDIA's, a Jetson's two, AMD's, WSL's."""
_UNSUPPORTED = ("mps", "xpu", "hpu", "npu", "xla", "tpu", "vulkan")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """A device by description: small, picklable, opened by the process that uses it."""

    kind: Literal["auto", "cuda", "cpu", "simulated"]
    index: int | None = None
    """Which CUDA device, in PyTorch's numbering."""
    limit_bytes: int | None = None
    """The simulated limit, or the size of the smaller card that a CUDA device stands in for."""
    resolved: bool = False
    """It was found to be there, by `resolve_device`."""

    def __str__(self) -> str:
        if self.kind == "simulated":
            return f"simulated:{format_bytes(self.limit_bytes or 0).replace('.00', '').replace(' ', '')}"
        return self.kind if self.index is None else f"{self.kind}:{self.index}"


def parse_device(text: str, *, memory: str | None = None) -> DeviceSpec:
    """`auto`, `cpu`, `cuda`, `cuda:1`, `simulated:1GiB`; `memory` is `--memory SIZE`.

    `--memory` makes a CUDA device stand in for a smaller card; the CPU with it is the simulated device.

    Raises:
        UsageError: no such form, or two limits.
        DeviceError: a kind of device that probe cannot measure.
    """
    name, colon, rest = text.strip().lower().partition(":")
    limit = None if memory is None else parse_bytes(memory)
    if name in _UNSUPPORTED:
        raise DeviceError(f"'{text}': probe measures CUDA devices and the CPU only.", hint=_FORMS)
    if name == "simulated" and colon:
        if limit is not None:
            raise UsageError(f"'{text}' and --memory {memory} both set the limit.", hint="Give one of them.")
        return DeviceSpec(kind="simulated", limit_bytes=parse_bytes(rest))
    if name == "simulated" and limit is None:
        raise UsageError("'simulated' needs a size.", hint="Write simulated:SIZE, like simulated:1GiB.")
    if name in ("cpu", "simulated") and not colon:
        return DeviceSpec(kind="simulated" if limit is not None else "cpu", limit_bytes=limit)
    if name == "auto" and not colon:
        return DeviceSpec(kind="auto", limit_bytes=limit)
    if name == "cuda" and (not colon or re.fullmatch("[0-9]+", rest)):
        return DeviceSpec(kind="cuda", index=int(rest) if colon else None, limit_bytes=limit)
    raise UsageError(f"'{text}' is not a device.", hint=_FORMS)


def resolve_device(spec: DeviceSpec, *, measuring_memory: bool) -> DeviceSpec:
    """The device that `spec` means on this machine, found to be there.

    `auto` is the first CUDA device; without one it is the CPU, except where memory is what is measured: nobody who asks
    what fits on a GPU wants the CPU's answer unasked. `cpu`, where memory is measured, is the simulated device with a
    share of the free memory as its limit.

    Raises DeviceError: it is not there, or the limit is larger than it can carry.
    """
    if spec.resolved:
        return spec
    on_cpu: Literal["cpu", "simulated"] = "cpu" if spec.limit_bytes is None else "simulated"
    if spec.kind == "auto" and not measuring_memory and not _may_have_gpu():
        return resolve_device(replace(spec, kind=on_cpu), measuring_memory=False)
    problem = cuda_problem() if spec.kind in ("auto", "cuda") else None
    if spec.kind == "auto" and problem is not None:
        if measuring_memory:
            raise DeviceError(f"There is no GPU to measure: {problem}", hint=NO_GPU_HINT)
        return resolve_device(replace(spec, kind=on_cpu), measuring_memory=False)
    if spec.kind in ("auto", "cuda"):
        if problem is not None:
            raise DeviceError(f"There is no CUDA device here: {problem}", hint="`probe devices` shows what probe sees.")
        return replace(spec, kind="cuda", index=_checked_index(spec.index), resolved=True)
    if spec.kind == "cpu" and not measuring_memory:
        return replace(spec, resolved=True)
    return replace(spec, kind="simulated", limit_bytes=_checked_limit(spec.limit_bytes), resolved=True)


def open_device(spec: DeviceSpec, *, measuring_memory: bool) -> Device:
    """The device itself, in this process. Raises DeviceError as `resolve_device`, and where it cannot be used."""
    found = resolve_device(spec, measuring_memory=measuring_memory)
    if found.kind == "cuda":
        from probe.device.cuda import CudaDevice

        return CudaDevice(found.index or 0, limit_bytes=found.limit_bytes)
    if found.limit_bytes is not None:
        from probe.device.simulated import SimulatedDevice

        return SimulatedDevice(found.limit_bytes)
    from probe.device.cpu import CpuDevice

    return CpuDevice()


def _may_have_gpu() -> bool:
    """Whether it is worth asking PyTorch, whose import takes seconds: on Linux a GPU's driver shows in /dev."""
    return not sys.platform.startswith("linux") or any(any(Path("/dev").glob(name)) for name in _GPU_FILES)


def cuda_problem() -> str | None:
    """Why PyTorch can use no CUDA device here, as a sentence; None where it can."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return None
    if torch.version.cuda is None and torch.version.hip is None:
        return f"this PyTorch ({torch.__version__}) is built without CUDA."
    if caught:
        return f"PyTorch says: {first_line(str(caught[0].message))}"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "the variable CUDA_VISIBLE_DEVICES hides every GPU."
    missing = nvml_problem()
    if missing is not None:
        return f"no working NVIDIA driver was found ({missing})."
    return f"a driver is there, but this PyTorch (for CUDA {torch.version.cuda}) finds no GPU that it can use."


def _checked_index(index: int | None) -> int:
    import torch

    count = torch.cuda.device_count()
    if index is None:
        return 0
    if index >= count:
        there = ", ".join(f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(count))
        raise DeviceError(f"There is no cuda:{index} here.", hint=f"There is {there}.")
    return index


def _checked_limit(limit_bytes: int | None) -> int:
    free = free_memory_bytes()
    if free is None:
        if limit_bytes is not None:
            return limit_bytes
        raise DeviceError(
            "This system does not say how much memory is free.", hint="Set a limit yourself: --device simulated:SIZE."
        )
    most = int(free * SHARE_FOR_TENSORS)
    if limit_bytes is None:
        return most
    if limit_bytes > most:
        raise DeviceError(
            f"A simulated limit of {format_bytes(limit_bytes)} is more than this machine can carry: "
            f"{format_bytes(free)} are free.",
            hint=f"Simulate at most {format_bytes(most)}, so that the machine keeps {1 - SHARE_FOR_TENSORS:.0%} for the rest.",
        )
    return limit_bytes


def device_limit(spec: DeviceSpec) -> int | None:
    """Bytes that the device offers; None where nobody knows. In a worker, as `device_name`."""
    return open_device(spec, measuring_memory=False).limit_bytes


def device_name(spec: DeviceSpec) -> str:
    """The opened device's name. In a worker: on a GPU it makes a context."""
    return open_device(spec, measuring_memory=False).name
