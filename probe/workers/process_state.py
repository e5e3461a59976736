"""Restores the settings of a worker process after every call, because a task's code may change them.

Default dtype, working directory, environment variables and warning filters belong to the process, so settings of one trial
would affect the next. A worker calls `begin` once, after its imports and before any code of the user. Settings that the user's
module makes when it is imported are meant for all trials, but a module is imported only once; `complete` includes them in the
settings that are restored. In other processes nothing is restored.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the process. `write` sets a value that `read` returned."""

    read: Callable[[], Any]
    write: Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class ProcessState:
    """The values of all settings at one time."""

    values: tuple[tuple[Setting, Any], ...]

    @classmethod
    def captured(cls) -> ProcessState:
        """The present values. PyTorch's settings are included if it has been imported."""
        settings = [*_python_settings(), *(_torch_settings() if "torch" in sys.modules else ())]
        return cls(tuple((setting, setting.read()) for setting in settings))

    def restore(self) -> None:
        """Write all settings that have changed."""
        for setting, value in self.values:
            if setting.read() != value:
                setting.write(value)


_settled: ProcessState | None = None
"""The settings that are restored, or None if this process is not a worker."""


def child_environment(num_threads: int | None, extra: Mapping[str, str]) -> dict[str, str]:
    """Environment variables of a new worker process: those of this process, threads, and `extra`."""
    environment = dict(os.environ)
    # By default, waiting OpenMP threads spin and take the cores from other workers: on two cores, two processes of two threads
    # ran ten times slower.
    environment["OMP_WAIT_POLICY"] = "PASSIVE"
    environment.setdefault("PYTHONHASHSEED", "0")  # sets of strings have the same order in all workers
    if num_threads is not None:
        environment |= {"OMP_NUM_THREADS": str(num_threads), "MKL_NUM_THREADS": str(num_threads)}
    home = Path(__file__).parents[2]
    if home.name not in ("site-packages", "dist-packages"):  # make `-m` find a checkout that is not installed
        known = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{known}{os.pathsep}{home}" if known else str(home)
    return environment | dict(extra)


def begin(prepare: Callable[[], object]) -> None:
    """Make this process a worker. `prepare` is called once, to import what calls need and to make settings for all of them."""
    if _settled is None:
        prepare()
        freeze_imports()
        _settle()


def complete(*, imported: bool = False) -> None:
    """In a worker: restore the present settings after each call from now on. `imported`: modules have just been imported and no
    task has been built since, so their objects are frozen."""
    if _settled is not None:
        if imported:
            freeze_imports()
        _settle()


@contextlib.contextmanager
def put_back() -> Iterator[None]:
    """In a worker: restore the settings after the block, to those of the last `begin` or `complete`, also one in the block."""
    try:
        yield
    finally:
        if _settled is not None:
            _settled.restore()


def freeze_imports() -> None:
    """Exclude all live objects from garbage collection. Importing PyTorch creates some 200,000 objects that live as long as the
    process. Each full collection would traverse them, which takes longer than a short rung. Frozen objects are still freed when
    their last reference is deleted."""
    gc.collect()
    gc.freeze()


def _settle() -> None:
    global _settled
    _settled = ProcessState.captured()


def _python_settings() -> Sequence[Setting]:
    found = [
        Setting(_current_folder, _change_folder),
        Setting(lambda: list(sys.path), lambda paths: _assign(sys.path, paths)),
        Setting(lambda: list(sys.argv), lambda words: _assign(sys.argv, words)),
        Setting(lambda: dict(os.environ), _write_environment),
        Setting(lambda: list(warnings.filters), _write_filters),
        Setting(lambda: warnings.showwarning, lambda show: setattr(warnings, "showwarning", show)),
        Setting(lambda: (sys.stdout, sys.stderr), _write_streams),
        Setting(sys.getrecursionlimit, sys.setrecursionlimit),
        Setting(gc.get_threshold, lambda thresholds: gc.set_threshold(*thresholds)),
        Setting(gc.isenabled, lambda enabled: gc.enable() if enabled else gc.disable()),
        # Whether numbers below the smallest normal one become zero (x86 and ARM); torch.set_flush_denormal has no getter.
        Setting(lambda: sys.float_info.min / 2 == 0.0, _write_flush_denormal),
    ]
    if "numpy" in sys.modules:
        import numpy as np

        found.append(Setting(np.geterr, lambda modes: np.seterr(**modes)))
    return found


def _torch_settings() -> Sequence[Setting]:
    import torch

    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    flags = [
        _flag(cudnn, "enabled"),
        _flag(cudnn, "benchmark"),
        _flag(cudnn, "deterministic"),
        _flag(cuda.matmul, "allow_fp16_reduced_precision_reduction"),
        _flag(cuda.matmul, "allow_bf16_reduced_precision_reduction"),
        _flag(torch.utils.deterministic, "fill_uninitialized_memory"),
    ]
    kernels = [
        Setting(cuda.flash_sdp_enabled, cuda.enable_flash_sdp),
        Setting(cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp),
        Setting(cuda.math_sdp_enabled, cuda.enable_math_sdp),
        Setting(cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp),
    ]
    return [
        Setting(torch.get_default_dtype, torch.set_default_dtype),
        Setting(torch.get_default_device, _write_default_device),
        Setting(torch.is_grad_enabled, torch.set_grad_enabled),
        Setting(
            lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
            lambda value: torch.autograd.set_detect_anomaly(*value),
        ),
        Setting(
            lambda: (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            ),
            lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
        ),
        Setting(torch.get_num_threads, torch.set_num_threads),
        Setting(read_precisions, write_precisions),
        Setting(torch.multiprocessing.get_sharing_strategy, torch.multiprocessing.set_sharing_strategy),
        Setting(_current_gpu, lambda gpu: None if gpu is None else torch.cuda.set_device(gpu)),
        *flags,
        *kernels,
        _autocast("cpu"),
        _autocast("cuda"),
    ]


def _flag(owner: Any, name: str) -> Setting:
    return Setting(lambda: getattr(owner, name), lambda value: setattr(owner, name, value))


def _assign(words: list[str], wanted: Sequence[str]) -> None:
    words[:] = wanted


def _current_folder() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was deleted
        return None


def _change_folder(folder: str | None) -> None:
    if folder is not None:
        with contextlib.suppress(OSError):  # it was deleted
            os.chdir(folder)


def _write_environment(wanted: Mapping[str, str]) -> None:
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update(wanted)


def _write_filters(filters: Sequence[Any]) -> None:
    warnings.resetwarnings()  # also invalidates the interpreter's cache of filters
    cast(list[Any], warnings.filters)[:] = filters


def _write_streams(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams


def _write_flush_denormal(flushes: bool) -> None:
    import torch

    torch.set_flush_denormal(flushes)


def _write_default_device(device: Any) -> None:
    """Set the default device. A default device slows down every call of PyTorch, so the CPU is set as no device."""
    import torch

    torch.set_default_device(None if device.type == "cpu" else device)


def _autocast(kind: str) -> Setting:
    import torch

    def write(value: tuple[bool, torch.dtype]) -> None:
        torch.set_autocast_enabled(kind, value[0])
        torch.set_autocast_dtype(kind, value[1])

    return Setting(lambda: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)), write)


def _current_gpu() -> int | None:
    """Index of the current GPU, or None if this process has not used one: asking would create a context."""
    import torch

    is_used: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # not annotated by torch
    return torch.cuda.current_device() if is_used else None


def read_precisions() -> tuple[str | None, ...]:
    """Precisions of float32 products and convolutions. The first is the older setting for all of them; None if it contradicts
    the newer ones, when PyTorch cannot read it."""
    import torch

    try:
        for_all = torch.get_float32_matmul_precision()
    except RuntimeError:
        for_all = None
    return for_all, *(owner.fp32_precision for owner in _precision_owners())


def write_precisions(precisions: Sequence[str | None]) -> None:
    """Restore what `read_precisions` returned."""
    import torch

    for_all, *rest = precisions
    if for_all is not None:
        torch.set_float32_matmul_precision(for_all)
    for owner, precision in zip(_precision_owners(), rest, strict=True):
        owner.fp32_precision = precision


def _precision_owners() -> Sequence[Any]:
    """Owners of a precision, from the most general to the most specific."""
    from torch import backends

    cudnn: Any = backends.cudnn
    mkldnn: Any = backends.mkldnn
    general: list[Any] = [backends, cudnn, mkldnn]
    products = [backends.cuda.matmul, mkldnn.matmul, cudnn.conv, mkldnn.conv, cudnn.rnn, mkldnn.rnn]
    return [*general, *products]
