"""The environment of a run: the metadata of every result, and the report of `probe devices`."""

from __future__ import annotations

import importlib.util
import platform
import runpy
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from probe.device.memory import free_memory_bytes, num_cores, total_memory_bytes
from probe.device.nvml import driver_version, nvml_problem
from probe.device.protocol import GpuReport
from probe.device.select import gpu_problem, list_gpus
from probe.errors import DeviceError
from probe.records import RunMeta, RunOrigin
from probe.version import VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentReport:
    """What probe finds on this machine."""

    probe_version: str
    python_version: str
    platform: str
    torch_version: str
    cuda_version: str | None
    """CUDA version of this PyTorch, or None if it is built without CUDA."""
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
    """The metadata of a result whose measurement starts now.

    Args:
        device: name of the opened device.
        seed: seed of the run.
        origin: command line and recipe.
        num_threads: PyTorch's threads in the worker. By default those of this process, for which PyTorch is imported.
    """
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
            f"No NVML: {nvml_missing}. Reports will lack the memory used on the whole device, by other programs and by the "
            "CUDA context."
        )
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
        driver_version=driver_version(),
        nvml_available=nvml_missing is None,
        num_cores=num_cores(),
        total_memory_bytes=total_memory_bytes(),
        free_memory_bytes=free_memory_bytes(),
        gpus=gpus,
        notes=tuple(notes),
    )


def _used_fraction(gpu: GpuReport) -> float:
    return 0.0 if gpu.free_bytes is None else max(0.0, 1 - gpu.free_bytes / gpu.total_bytes)
