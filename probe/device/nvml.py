"""NVML (the library behind nvidia-smi) through the package nvidia-ml-py. Without it probe knows less and works."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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
