"""NVML, the library behind nvidia-smi, through the package nvidia-ml-py. Optional: without it, probe reports less."""

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
"""Largest ratio of NVML's total memory to CUDA's for the same device. The driver uses a few percent; the largest MIG slice has
half of the memory of its GPU."""


class NvmlUnavailableError(Exception):
    """NVML is missing or a query failed; the message says why. Caught inside probe.device."""


@contextmanager
def nvml_session() -> Iterator[Any]:
    """Yield the module `pynvml` between nvmlInit and nvmlShutdown. Raises NvmlUnavailableError."""
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
    """NVML's handle of the device with PyTorch's `properties`, by UUID or PCI address, because NVML numbers all GPUs of the
    machine. Raises NvmlUnavailableError if NVML finds only the whole GPU of a MIG slice."""
    handle = _find_handle(nvml, properties)
    if nvml.nvmlDeviceGetMemoryInfo(handle).total > _LARGEST_RATIO * properties.total_memory:
        raise NvmlUnavailableError("NVML finds only the whole GPU, not this slice of it")
    return handle


def _find_handle(nvml: Any, properties: Any) -> Any:
    for prefix in ("GPU-", "MIG-"):
        with contextlib.suppress(nvml.NVMLError, AttributeError):
            return nvml.nvmlDeviceGetHandleByUUID(f"{prefix}{properties.uuid}".encode())
    address = f"{properties.pci_domain_id:08x}:{properties.pci_bus_id:02x}:{properties.pci_device_id:02x}.0"
    return nvml.nvmlDeviceGetHandleByPciBusId(address.encode())


def used_bytes(properties: Any) -> int | None:
    """Memory of the device in use by all processes, including contexts, or None if unknown. Computed from the free memory,
    because NVML's `used` includes the driver's memory, which CUDA's total excludes."""
    with contextlib.suppress(NvmlUnavailableError), nvml_session() as nvml:
        free = nvml.nvmlDeviceGetMemoryInfo(find_handle(nvml, properties)).free
        return max(0, int(properties.total_memory) - int(free))
    return None


def memory_users(properties: Any) -> tuple[MemoryUser, ...]:
    """Other processes that use memory of the device, as far as NVML reports them; in a container, it often reports none."""
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
    """Name of the program, without its folder."""
    text = ""
    with contextlib.suppress(nvml.NVMLError, UnicodeDecodeError):
        name = nvml.nvmlSystemGetProcessName(pid)
        text = name.decode() if isinstance(name, bytes) else str(name)
    if not text.strip():
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = Path(f"/proc/{pid}/comm").read_text()
    return re.split(r"[\\/]", text.strip())[-1] or None


def driver_version() -> str | None:
    """Version of the NVIDIA driver, or None if unknown."""
    with contextlib.suppress(NvmlUnavailableError), nvml_session() as nvml:
        version = nvml.nvmlSystemGetDriverVersion()
        return version.decode() if isinstance(version, bytes) else str(version)
    return None


def nvml_problem() -> str | None:
    """Why NVML cannot be used, or None if it can."""
    try:
        with nvml_session():
            return None
    except NvmlUnavailableError as error:
        return str(error)


def gpu_sizes() -> list[tuple[str, int]]:
    """Name and memory in bytes of every GPU of this machine, without a CUDA context; empty if unknown."""
    try:
        with nvml_session() as nvml:
            handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
            return [(str(nvml.nvmlDeviceGetName(h)), int(nvml.nvmlDeviceGetMemoryInfo(h).total)) for h in handles]
    except NvmlUnavailableError:
        return []
