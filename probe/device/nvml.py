"""NVML (the library behind nvidia-smi) through the package nvidia-ml-py. Without it probe knows less and works."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from probe.records import MemoryUser


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
    """
    for prefix in ("GPU-", "MIG-"):
        with contextlib.suppress(nvml.NVMLError, AttributeError):
            return nvml.nvmlDeviceGetHandleByUUID(f"{prefix}{properties.uuid}".encode())
    address = f"{properties.pci_domain_id:08x}:{properties.pci_bus_id:02x}:{properties.pci_device_id:02x}.0"
    return nvml.nvmlDeviceGetHandleByPciBusId(address.encode())


def used_bytes(properties: Any) -> int | None:
    """What is used on the whole device, by anybody, context included; None where NVML cannot say."""
    with contextlib.suppress(NvmlUnavailableError), nvml_session() as nvml:
        return int(nvml.nvmlDeviceGetMemoryInfo(find_handle(nvml, properties)).used)
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
    with contextlib.suppress(nvml.NVMLError, UnicodeDecodeError):
        name = nvml.nvmlSystemGetProcessName(pid)
        text = name.decode() if isinstance(name, bytes) else str(name)
        return re.split(r"[\\/]", text.strip())[-1] or None
    return None


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
