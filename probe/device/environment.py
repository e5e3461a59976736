"""This machine: its cores and the memory of this process, the metadata of results, the report of `probe devices`."""

from __future__ import annotations

import contextlib
import importlib.util
import platform
import runpy
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from probe.device.nvml import driver_version, nvml_problem
from probe.device.protocol import GpuReport, untested_text
from probe.device.select import gpu_problem, list_gpus
from probe.errors import DeviceError
from probe.records import RunMeta, RunOrigin
from probe.system.host_memory import free_memory_bytes, total_memory_bytes
from probe.units import format_bytes
from probe.version import VERSION

FRACTION_FOR_TENSORS = 0.8
"""Fraction of the free memory that a batch probe on the CPU may use. The rest is left to Python and to other programs, because
a system that runs out of memory swaps or kills processes."""

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def check_limit(limit_bytes: int | None) -> int:
    """The limit of a simulated device in bytes: by default, and at most, a fraction of the free memory. Raises DeviceError if
    it is larger."""
    free = free_memory_bytes()
    most = int(free * FRACTION_FOR_TENSORS)
    if limit_bytes is None or limit_bytes <= most:
        return limit_bytes or most
    raise DeviceError(
        f"A simulated limit of {format_bytes(limit_bytes)} is too large for this machine, which has {format_bytes(free)} "
        "of free memory.",
        hint=f"Simulate at most {format_bytes(most)}; {1 - FRACTION_FOR_TENSORS:.0%} is left to other programs.",
    )


def num_cores() -> int:
    """Logical cores that this process may use; a container or `taskset` may allow fewer than the machine has."""
    with contextlib.suppress(AttributeError):  # macOS has no affinity
        return len(psutil.Process().cpu_affinity() or ()) or 1
    return psutil.cpu_count() or 1


def reset_peak_resident() -> None:
    """Restart the measurement of `peak_resident_bytes`. Linux only (man 5 proc, clear_refs); no effect elsewhere."""
    with contextlib.suppress(OSError):
        _CLEAR_REFS.write_text("5")


def peak_resident_bytes() -> int | None:
    """Largest resident set of this process since `reset_peak_resident` (or its start); None if the system does not report it
    (Windows)."""
    with contextlib.suppress(OSError, ValueError):
        for line in _STATUS.read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "VmHWM":
                return int(rest.split()[0]) * 1024
    with contextlib.suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB elsewhere
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentReport:
    """What probe finds on this machine."""

    probe_version: str
    python_version: str
    platform: str
    torch_version: str
    cuda_version: str | None
    """CUDA version of this PyTorch, or None if it is built without CUDA."""
    rocm_version: str | None
    """Version of AMD's ROCm in this PyTorch, or None if it is built without ROCm."""
    driver_version: str | None
    nvml_available: bool
    num_cores: int
    """Cores that this process may use."""
    total_memory_bytes: int
    free_memory_bytes: int
    gpus: tuple[GpuReport, ...]
    notes: tuple[str, ...]
    """Sentences about what is missing, and its consequences."""


def collect_meta(
    *,
    device: str,
    seed: int,
    origin: RunOrigin | None = None,
    num_threads: int | None = None,
) -> RunMeta:
    """The metadata of a result whose measurement starts now. `num_threads` are PyTorch's in the worker; by default those of
    this process, for which PyTorch is imported."""
    torch_version, cuda_version = torch_versions()
    origin = origin or RunOrigin()
    return RunMeta(
        probe_version=VERSION,
        python_version=platform.python_version(),
        torch_version=torch_version,
        cuda_version=cuda_version,
        driver_version=driver_version(),
        platform=platform.platform(),
        device=device,
        num_threads=_num_torch_threads() if num_threads is None else num_threads,
        seed=seed,
        argv=origin.argv,
        recipe_hash=origin.recipe_hash,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        run_id=origin.run_id,
    )


def _num_torch_threads() -> int:
    import torch

    return torch.get_num_threads()


def torch_versions() -> tuple[str, str | None]:
    """The versions of PyTorch and CUDA, read from PyTorch's version file without importing PyTorch."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        raise DeviceError("PyTorch is not installed here.", hint="Run: pip install torch")
    versions = runpy.run_path(str(Path(spec.submodule_search_locations[0], "version.py")))
    return versions["__version__"], versions["cuda"]


def describe_environment() -> EnvironmentReport:
    """Describe this machine without creating a CUDA context."""
    import torch

    problem = gpu_problem()
    nvml_missing = nvml_problem()
    gpus = list_gpus()
    notes = []
    if problem is not None:
        notes.append(
            f"No GPU: {problem} `probe batch` can measure the CPU (--device cpu) or train under a simulated limit "
            "(--device simulated:SIZE); `probe lr` and `probe search` train on the CPU."
        )
    elif nvml_missing is not None:
        notes.append(
            f"No NVML: {nvml_missing}. Reports will not name other programs that use a GPU, and assume the size of the CUDA "
            "context."
        )
    notes += dict.fromkeys(untested_text(gpu.untested) for gpu in gpus if gpu.untested is not None)
    notes += [
        f"{_used_fraction(gpu):.0%} of the memory of {gpu.device} is in use: a batch probe finds what fits into the rest."
        for gpu in gpus
        if _used_fraction(gpu) > 0.05
    ]
    return EnvironmentReport(
        probe_version=VERSION,
        python_version=platform.python_version(),
        platform=platform.platform(),
        torch_version=torch.__version__,
        cuda_version=torch.version.cuda,
        rocm_version=torch.version.hip,
        driver_version=driver_version(),
        nvml_available=nvml_missing is None,
        num_cores=num_cores(),
        total_memory_bytes=total_memory_bytes(),
        free_memory_bytes=free_memory_bytes(),
        gpus=gpus,
        notes=tuple(notes),
    )


def _used_fraction(gpu: GpuReport) -> float:
    return 0.0 if gpu.free_bytes is None or gpu.total_bytes is None else max(0.0, 1 - gpu.free_bytes / gpu.total_bytes)
