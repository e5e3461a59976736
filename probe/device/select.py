"""The registry of device kinds, and the way from `--device` to an open device. PyTorch is imported only to find or open one."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

from probe.errors import DeviceError, UsageError
from probe.records import Precision
from probe.units import format_bytes, parse_bytes

if TYPE_CHECKING:
    from probe.device.protocol import Device, GpuReport

NO_GPU_HINT = (
    "Use --device simulated:SIZE (like simulated:8GiB) to train on the CPU under that memory limit, or --device cpu to "
    "measure the CPU itself."
)
_UNSUPPORTED = ("hpu", "npu", "xla", "tpu", "vulkan")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceKind:
    """Properties of a kind of device that are known without importing its module."""

    module: str
    """Module with the functions of `DeviceModule`, or of `GpuModule` if it is a GPU. Imported on first use."""
    is_gpu: bool = False
    """Whether it has memory of its own. Kinds of GPUs are candidates for `--device auto`, in the order of `KINDS`."""
    counts_memory: bool = True
    argument: Literal["index", "size"] | None = None
    """Argument after the colon: `cuda:1` has an optional index, `simulated:8GiB` a required size."""
    with_memory_limit: str | None = None
    """Kind that `--memory` turns it into; by default the device enforces the limit itself."""
    files: tuple[str, ...] | None = None
    """Patterns of files in /dev: on Linux there is no such GPU if none exists. None if nothing is known."""


KINDS: dict[str, DeviceKind] = {
    "cpu": DeviceKind(module="probe.device.cpu", counts_memory=False, with_memory_limit="simulated"),
    "cuda": DeviceKind(
        module="probe.device.cuda",
        is_gpu=True,
        argument="index",
        files=("nvidia*", "nvhost*", "nvmap", "kfd", "dxg"),  # NVIDIA; a Jetson's two; AMD; WSL
    ),
    "xpu": DeviceKind(module="probe.device.accelerator", is_gpu=True, argument="index", files=("dri/renderD*",)),
    "mps": DeviceKind(module="probe.device.accelerator", is_gpu=True, argument="index", files=()),  # not on Linux
    "simulated": DeviceKind(module="probe.device.simulated", argument="size"),
}
"""All kinds of devices by the name that `--device` takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """Description of a device: small and picklable. The process that uses the device opens it."""

    kind: str
    """A key of `KINDS`, or `auto`."""
    index: int | None = None
    """Index of the GPU, in PyTorch's numbering."""
    seen_alone_as: str | None = None
    """Value of CUDA_VISIBLE_DEVICES for the processes that use the GPU, so that they see it alone; None if they see all."""
    shown_index: int | None = None
    """Index by which the user knows a GPU that is seen alone; None for any other."""
    limit_bytes: int | None = None
    """Simulated limit, or size of the smaller GPU that a larger one emulates."""
    resolved: bool = False
    """Whether `resolve_device` has found the device."""

    @property
    def is_gpu(self) -> bool:
        """Whether the device has memory of its own; False for `auto`, which is not resolved yet."""
        return self.kind in KINDS and KINDS[self.kind].is_gpu

    @property
    def counts_memory(self) -> bool:
        """Whether the device reports the memory of a trial; True for `auto`, which is not resolved yet."""
        return self.kind not in KINDS or KINDS[self.kind].counts_memory

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of a child process that uses the device."""
        return {} if self.seen_alone_as is None else {VISIBLE_DEVICES: self.seen_alone_as}

    def __str__(self) -> str:
        if self.kind in KINDS and KINDS[self.kind].argument == "size":
            return f"{self.kind}:{format_bytes(self.limit_bytes or 0).replace('.00', '').replace(' ', '')}"
        index = self.index if self.shown_index is None else self.shown_index
        return self.kind if index is None else f"{self.kind}:{index}"


class DeviceModule(Protocol):
    """Functions of a module that implements a kind of device."""

    def resolve(self, spec: DeviceSpec, *, measuring_memory: bool) -> DeviceSpec:
        """Check that the device exists, and fill in its index or limit. Raises DeviceError."""

    def open_device(self, spec: DeviceSpec) -> Device:
        """Open a resolved device in this process. Raises DeviceError."""


class GpuModule(DeviceModule, Protocol):
    """Functions of a module that implements a kind of GPU."""

    def find_problem(self, kind: str) -> str | None:
        """Why no GPU of this kind can be used, as a sentence, or None if one can."""

    def list_gpus(self, kind: str) -> tuple[GpuReport, ...]:
        """All GPUs of this kind that PyTorch finds, without creating a context on any."""


def parse_device(text: str, *, memory: str | None = None) -> DeviceSpec:
    """Parse `auto`, `cpu`, `cuda`, `cuda:1`, `xpu`, `mps` or `simulated:1GiB`. `memory` makes a GPU emulate a smaller one, and
    the CPU a simulated device. Raises UsageError, or DeviceError for a kind that probe does not support."""
    name, colon, argument = text.strip().lower().partition(":")
    limit = None if memory is None else parse_bytes(memory)
    if name == "auto" and not colon:
        return DeviceSpec(kind="auto", limit_bytes=limit)
    kind = KINDS.get(name)
    if kind is None and name in _UNSUPPORTED:
        raise DeviceError(f"'{text}': probe does not support this kind of device.", hint=_forms())
    if kind is not None and kind.argument == "size":
        if colon and limit is not None:
            raise UsageError(f"'{text}' and --memory {memory} both set the limit.", hint="Give only one of them.")
        if not colon and limit is None:
            raise UsageError(f"'{name}' needs a size.", hint=f"Write {name}:SIZE, like {name}:1GiB.")
        return DeviceSpec(kind=name, limit_bytes=parse_bytes(argument) if colon else limit)
    has_index = kind is not None and kind.argument == "index" and re.fullmatch("[0-9]+", argument)
    if kind is None or (colon and not has_index):
        raise UsageError(f"'{text}' is not a device.", hint=_forms())
    spec = DeviceSpec(kind=name, index=int(argument) if colon else None, limit_bytes=limit)
    return _with_kind_for_limit(spec)


def _forms() -> str:
    """All forms of `--device`."""
    forms = ["auto"]
    for name, kind in KINDS.items():
        forms += {None: [name], "index": [name, f"{name}:N"], "size": [f"{name}:SIZE"]}[kind.argument]
    return f"Devices: {', '.join(forms)} (simulated:SIZE trains on the CPU under a memory limit, like simulated:1GiB)."


def _with_kind_for_limit(spec: DeviceSpec) -> DeviceSpec:
    kind = KINDS[spec.kind].with_memory_limit
    return spec if spec.limit_bytes is None or kind is None else replace(spec, kind=kind)


def on_cpu(spec: DeviceSpec) -> DeviceSpec:
    """`spec` with `auto` replaced by the CPU."""
    return _with_kind_for_limit(replace(spec, kind="cpu")) if spec.kind == "auto" else spec


def resolve_device(spec: DeviceSpec, *, measuring_memory: bool) -> DeviceSpec:
    """Find the device that `spec` describes on this machine. Raises DeviceError. `auto` is the first GPU. Without a GPU it is
    the CPU, unless memory is measured: a user who asks what fits on a GPU does not expect an answer for the CPU. If memory is
    measured, `cpu` becomes the simulated device."""
    if spec.resolved:
        return spec
    if spec.kind == "auto":
        kind, problem = _first_gpu(only_likely=not measuring_memory)
        if kind is None and measuring_memory:
            raise DeviceError(f"There is no GPU to measure: {problem}", hint=NO_GPU_HINT)
        spec = on_cpu(spec) if kind is None else replace(spec, kind=kind)
    elif spec.is_gpu:
        missing = _gpu_module(spec.kind).find_problem(spec.kind)
        if missing is not None:
            raise DeviceError(
                f"There is no {spec.kind.upper()} device here: {missing}",
                hint="Run `probe devices` to see the devices of this machine.",
            )
    return replace(_module(spec.kind).resolve(spec, measuring_memory=measuring_memory), resolved=True)


def open_device(spec: DeviceSpec, *, measuring_memory: bool) -> Device:
    """Resolve a device and open it in this process. Raises DeviceError if it does not exist or cannot be used."""
    found = resolve_device(spec, measuring_memory=measuring_memory)
    return _module(found.kind).open_device(found)


def gpu_of_job(spec: DeviceSpec) -> DeviceSpec:
    """The first GPU of the process that uses it, for a job on another machine. `auto` is a CUDA device."""
    return replace(spec, kind=spec.kind if spec.is_gpu else "cuda", index=0, resolved=True)


def gpu_problem() -> str | None:
    """Why no GPU of any kind can be used, as a sentence, or None if one can."""
    kind, problem = _first_gpu(only_likely=False)
    return problem if kind is None else None


def list_gpus() -> tuple[GpuReport, ...]:
    """All GPUs that PyTorch finds, without creating a context on any."""
    return tuple(gpu for name in _gpu_kinds() for gpu in _gpu_module(name).list_gpus(name))


def _first_gpu(*, only_likely: bool) -> tuple[str | None, str]:
    """The first kind of GPU that can be used, or None and the reason, which is that of the kind that PyTorch is built for.
    `only_likely` skips kinds without a driver in /dev (on Linux), because importing PyTorch takes seconds."""
    problems = {}
    for name in _gpu_kinds():
        if only_likely and not _is_likely(KINDS[name]):
            continue
        problem = _gpu_module(name).find_problem(name)
        if problem is None:
            return name, ""
        problems[name] = problem
    if not problems:
        return None, ""
    import torch

    built = torch.accelerator.current_accelerator()
    return None, problems.get("" if built is None else built.type, next(iter(problems.values())))


def _is_likely(kind: DeviceKind) -> bool:
    if kind.files is None or not sys.platform.startswith("linux"):
        return True
    return any(any(Path("/dev").glob(pattern)) for pattern in kind.files)


def _gpu_kinds() -> Iterator[str]:
    return (name for name, kind in KINDS.items() if kind.is_gpu)


def _module(kind: str) -> DeviceModule:
    return cast(DeviceModule, importlib.import_module(KINDS[kind].module))


def _gpu_module(kind: str) -> GpuModule:
    return cast(GpuModule, importlib.import_module(KINDS[kind].module))


def describe_device(spec: DeviceSpec, precisions: Sequence[Precision]) -> tuple[str, tuple[str, ...]]:
    """Name of the opened device, and its warnings about training in these precisions. Call it in a worker: on a GPU it creates
    a context."""
    device = open_device(spec, measuring_memory=False)
    return device.name, tuple(dict.fromkeys(text for each in precisions for text in device.warnings(each)))


VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
"""Variable with the GPUs that CUDA shows to a process, separated by commas: indices, or UUIDs of GPUs (GPU-...) or of MIG
slices (MIG-...). https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#env-vars"""
_MIG = "MIG-"


def visible_gpus(requested: DeviceSpec, resolved: DeviceSpec) -> tuple[str, ...]:
    """Values of CUDA_VISIBLE_DEVICES, each of which shows only one GPU to a child process. Empty if there is only one GPU, if
    the user chose one (`cuda:N`), or for AMD's GPUs. Creates no context."""
    if resolved.kind != "cuda" or requested.resolved or requested.index is not None:
        return ()
    names = _names_to_show()
    if len(names) < 2:
        return ()
    unusable = {number for number, gpu in enumerate(list_gpus()) if gpu.problem is not None}
    gpus = tuple(name for number, name in enumerate(names) if number not in unusable)
    return gpus if len(gpus) > 1 else ()


def seen_alone(spec: DeviceSpec) -> DeviceSpec:
    """The device for child processes with its `environment`. A GPU other than the first one is the only one that they see, so
    that "cuda" means this GPU to a task, and no context is created on another. Creates no context. Raises DeviceError."""
    if spec.kind != "cuda" or not spec.index:
        return spec
    found, names = resolve_device(spec, measuring_memory=True), _names_to_show()
    if not names:
        return found
    return replace(found, index=0, shown_index=spec.index, seen_alone_as=names[spec.index])


def _names_to_show() -> tuple[str, ...]:
    """The name of each GPU for CUDA_VISIBLE_DEVICES. Empty for AMD's GPUs, which other variables affect as well."""
    import torch

    if torch.version.hip is not None:
        return ()
    return gpu_names(os.environ.get(VISIBLE_DEVICES), torch.cuda.device_count())


def gpu_names(visible: str | None, num_gpus: int) -> tuple[str, ...]:
    """Entries of CUDA_VISIBLE_DEVICES (`visible`), one per GPU, in PyTorch's order: the first `num_gpus`, because CUDA ignores
    all after an invalid one. Of MIG slices, of which a process sees only one, all are taken."""
    if visible is None:
        return tuple(str(index) for index in range(num_gpus))
    entries = [entry.strip() for entry in visible.split(",")]
    if num_gpus and entries[0].startswith(_MIG):
        return tuple(takewhile(lambda entry: entry.startswith(_MIG), entries))
    return tuple(entries[:num_gpus])
