"""NVML (the library behind nvidia-smi) through the package nvidia-ml-py. Without it probe knows less and works."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from probe.records import MemoryUser

_LARGEST_RATIO = 1.5
"""Of NVML's total to CUDA's for the same device. The driver's share is a few percent; of a GPU in slices, the largest slice
that is not all of it has half of the memory."""


class NvmlUnavailableError(Exception):
    """NVML is not there or refused; the message says why. Never leaves probe.device."""


@contextmanager
def nvml_session() -> Iterator[Any]:
    """The module `pynvml`, between its nvmlInit and its nvmlShutdown. Raises NvmlUnavailableError."""
    try:
        import pynvml
    except ImportError:
        raise NvmlUnavailableError("the package nvidia-ml-py is not installed") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise NvmlUnavailableError(f"NVML says: {error}") from None
    try:
        yield pynvml
    except pynvml.NVMLError as error:
        raise NvmlUnavailableError(f"NVML says: {error}") from None
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def find_handle(nvml: Any, properties: Any) -> Any:
    """NVML's handle of the device that PyTorch's `properties` describe.

    NVML counts all GPUs of the machine, PyTorch those that CUDA_VISIBLE_DEVICES leaves, in its order; hence by identity.
    Raises NvmlUnavailableError where that leads to the GPU around a MIG slice: its numbers are those of all slices.
    """
    handle = _find_handle(nvml, properties)
    if nvml.nvmlDeviceGetMemoryInfo(handle).total > _LARGEST_RATIO * properties.total_memory:
        raise NvmlUnavailableError("NVML finds the whole GPU only, not this slice of it")
    return handle


def _find_handle(nvml: Any, properties: Any) -> Any:
    for prefix in ("GPU-", "MIG-"):
        with contextlib.suppress(nvml.NVMLError, AttributeError):
            return nvml.nvmlDeviceGetHandleByUUID(f"{prefix}{properties.uuid}".encode())
    address = f"{properties.pci_domain_id:08x}:{properties.pci_bus_id:02x}:{properties.pci_device_id:02x}.0"
    return nvml.nvmlDeviceGetHandleByPciBusId(address.encode())


def used_bytes(properties: Any) -> int | None:
    """What anybody uses of the memory that CUDA offers, contexts included; None where NVML cannot say.

    From what is free, as NVML's own `used` holds what the driver keeps for itself, which CUDA's total leaves out already.
    """
    with contextlib.suppress(NvmlUnavailableError), nvml_session() as nvml:
        free = nvml.nvmlDeviceGetMemoryInfo(find_handle(nvml, properties)).free
        return max(0, int(properties.total_memory) - int(free))
    return None


def memory_users(properties: Any) -> tuple[MemoryUser, ...]:
    """Other processes with memory on the device, as far as NVML tells; inside a container it often tells none."""
    with contextlib.suppress(NvmlUnavailableError), nvml_session() as nvml:
        handle = find_handle(nvml, properties)
        found: dict[int, Any] = {}
        for listing in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
            with contextlib.suppress(nvml.NVMLError):
                found |= {process.pid: process for process in listing(handle)}
        return tuple(
            MemoryUser(pid=pid, name=_process_name(nvml, pid), used_bytes=process.usedGpuMemory)
            for pid, process in sorted(found.items())
            if pid != os.getpid()
        )
    return ()


def _process_name(nvml: Any, pid: int) -> str | None:
    """The program's own name, without its folder."""
    text = ""
    with contextlib.suppress(nvml.NVMLError, UnicodeDecodeError):
        name = nvml.nvmlSystemGetProcessName(pid)
        text = name.decode() if isinstance(name, bytes) else str(name)
    if not text.strip():
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = Path(f"/proc/{pid}/comm").read_text()
    return re.split(r"[\\/]", text.strip())[-1] or None


def driver_version() -> str | None:
    with contextlib.suppress(NvmlUnavailableError), nvml_session() as nvml:
        version = nvml.nvmlSystemGetDriverVersion()
        return version.decode() if isinstance(version, bytes) else str(version)
    return None


def nvml_problem() -> str | None:
    """Why NVML cannot be used; None where it can."""
    try:
        with nvml_session():
            return None
    except NvmlUnavailableError as error:
        return str(error)


def gpu_sizes() -> list[tuple[str, int]]:
    """Name and bytes of every GPU of this machine, without a CUDA context; empty where NVML cannot say."""
    try:
        with nvml_session() as nvml:
            handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
            return [(str(nvml.nvmlDeviceGetName(h)), int(nvml.nvmlDeviceGetMemoryInfo(h).total)) for h in handles]
    except NvmlUnavailableError:
        return []
