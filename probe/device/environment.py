"""What this machine offers for training: the metadata of every result, and the answer of `probe devices`."""

from __future__ import annotations

import importlib.util
import os
import platform
import runpy
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from probe.device.host_memory import free_memory_bytes, total_memory_bytes
from probe.device.nvml import driver_version, memory_users, nvml_problem, used_bytes
from probe.device.select import cuda_problem
from probe.errors import DeviceError
from probe.records import MemoryUser, RunMeta, RunOrigin
from probe.units import format_bytes
from probe.version import VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReport:
    """One GPU that PyTorch can use."""

    index: int
    """In PyTorch's numbering: `cuda:N`."""
    name: str
    total_bytes: int
    free_bytes: int | None
    """None where NVML cannot say: asking CUDA itself would take memory."""
    users: tuple[str, ...]
    """Who holds its memory, as far as NVML tells: `python 1234 (2.50 GiB)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentReport:
    """What probe sees of this machine. `notes` say what is missing and what that means."""

    probe_version: str
    python_version: str
    platform: str
    torch_version: str
    cuda_version: str | None
    """What this PyTorch is built for; None: without CUDA."""
    driver_version: str | None
    nvml_available: bool
    num_cores: int
    total_memory_bytes: int | None
    free_memory_bytes: int | None
    gpus: tuple[GpuReport, ...]
    notes: tuple[str, ...]


def collect_meta(
    *,
    device: str,
    seed: int,
    origin: RunOrigin | None = None,
    num_threads: int | None = None,
) -> RunMeta:
    """The metadata of a result that starts now. `device` is the opened device's name. `num_threads`: PyTorch's where the work
    is done; None: those of this process, which imports PyTorch only then."""
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
    """PyTorch's and CUDA's, from the file in which PyTorch states them: it takes no import of PyTorch."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        raise DeviceError("PyTorch is not installed here.", hint="pip install torch")
    stated = runpy.run_path(str(Path(spec.submodule_search_locations[0], "version.py")))
    return stated["__version__"], stated["cuda"]


def describe_environment() -> EnvironmentReport:
    """Look at everything, use nothing: no CUDA context is made."""
    import torch

    problem = cuda_problem()
    nvml_missing = nvml_problem()
    gpus = () if problem is not None else tuple(_gpu(index) for index in range(torch.cuda.device_count()))
    notes = []
    if problem is not None:
        notes.append(
            f"No CUDA device: {problem} `probe batch` measures the CPU (--device cpu) or under a limit "
            "(--device simulated:SIZE); `probe lr` and `probe search` train on the CPU."
        )
    elif nvml_missing is not None:
        notes.append(
            f"No NVML: {nvml_missing}. Reports then lack what is used on the whole device, by other programs and the CUDA "
            "context."
        )
    notes += [
        f"{_busy_share(gpu):.0%} of cuda:{gpu.index} is in use already: a batch probe finds what fits beside that."
        for gpu in gpus
        if _busy_share(gpu) > 0.05
    ]
    return EnvironmentReport(
        probe_version=VERSION,
        python_version=platform.python_version(),
        platform=platform.platform(),
        torch_version=torch.__version__,
        cuda_version=torch.version.cuda,
        driver_version=driver_version(),
        nvml_available=nvml_missing is None,
        num_cores=_num_cores(),
        total_memory_bytes=total_memory_bytes(),
        free_memory_bytes=free_memory_bytes(),
        gpus=gpus,
        notes=tuple(notes),
    )


def _gpu(index: int) -> GpuReport:
    import torch

    properties = torch.cuda.get_device_properties(index)
    used = used_bytes(properties)
    total = int(properties.total_memory)
    return GpuReport(
        index=index,
        name=properties.name,
        total_bytes=total,
        free_bytes=None if used is None else max(0, total - used),
        users=tuple(_described(user) for user in memory_users(properties)),
    )


def _described(user: MemoryUser) -> str:
    held = f" ({format_bytes(user.used_bytes)})" if user.used_bytes else ""
    return f"{user.name or 'process'} {user.pid}{held}"


def _busy_share(gpu: GpuReport) -> float:
    return 0.0 if gpu.free_bytes is None else max(0.0, 1 - gpu.free_bytes / gpu.total_bytes)


def _num_cores() -> int:
    """Those that this process may use; a container or `taskset` may leave it fewer than the machine has."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable is not None else os.cpu_count() or 1
