"""The settings of a worker process that a task's code may change, and how they are put back after every call.

Default dtype, current folder, environment variables, warning filters: they belong to the process, so that what one trial sets
would reach the next. A worker calls `begin` once, after its imports and before any code of the user. Settings that the user's
module makes while it is imported are meant for every trial, and a module is imported once: `complete` makes them the ones that
are put back. In any other process nothing is put back.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the process. `write` takes what `read` returned."""

    read: Callable[[], Any]
    write: Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class ProcessState:
    """The values of all settings at one moment."""

    values: tuple[tuple[Setting, Any], ...]

    @classmethod
    def captured(cls) -> ProcessState:
        settings = [*_python_settings(), *(_torch_settings() if "torch" in sys.modules else ())]
        return cls(tuple((setting, setting.read()) for setting in settings))

    def restore(self) -> None:
        """Write back those settings that have other values now."""
        for setting, value in self.values:
            if setting.read() != value:
                setting.write(value)


_settled: ProcessState | None = None
"""What is put back; None: this process is no worker."""


def begin(prepare: Callable[[], object]) -> None:
    """Make this process a worker, once: `prepare` imports what its calls need and makes settings for all of them."""
    if _settled is None:
        prepare()
        freeze_imports()
        _settle()


def complete(*, imported: bool = False) -> None:
    """In a worker: the settings as they are now are the ones that are put back after a call. `imported`: modules were
    imported just now, and no task has been built since."""
    if _settled is not None:
        if imported:
            freeze_imports()
        _settle()


@contextlib.contextmanager
def put_back() -> Iterator[None]:
    """In a worker: after the block, the settings are those that were settled last, before the block or in it."""
    try:
        yield
    finally:
        if _settled is not None:
            _settled.restore()


def freeze_imports() -> None:
    """Keep the garbage collector from traversing what is alive now. PyTorch's import leaves some 200,000 objects that live as
    long as the process; each full collection would look at all of them, which takes longer than a short rung. Objects that
    are frozen are still freed when the last reference to them goes."""
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
        # x86 and ARM: numbers below the smallest normal one are taken for zero (torch.set_flush_denormal has no getter).
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
        Setting(_read_precisions, _write_precisions),
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
    except FileNotFoundError:  # it was removed
        return None


def _change_folder(folder: str | None) -> None:
    if folder is not None:
        with contextlib.suppress(OSError):  # it is gone, and so is what was read there
            os.chdir(folder)


def _write_environment(wanted: Mapping[str, str]) -> None:
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update(wanted)


def _write_filters(filters: Sequence[Any]) -> None:
    warnings.resetwarnings()  # also tells the interpreter's cache that they have changed
    cast(list[Any], warnings.filters)[:] = filters


def _write_streams(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams


def _write_flush_denormal(flushes: bool) -> None:
    import torch

    torch.set_flush_denormal(flushes)


def _write_default_device(device: Any) -> None:
    """A default device costs time in every call of PyTorch, so that the usual one is none."""
    import torch

    torch.set_default_device(None if device.type == "cpu" else device)


def _autocast(kind: str) -> Setting:
    import torch

    def write(value: tuple[bool, torch.dtype]) -> None:
        torch.set_autocast_enabled(kind, value[0])
        torch.set_autocast_dtype(kind, value[1])

    return Setting(lambda: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)), write)


def _current_gpu() -> int | None:
    """None where this process has not used a GPU: asking would make a context."""
    import torch

    is_used: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # not annotated by torch
    return torch.cuda.current_device() if is_used else None


def _read_precisions() -> tuple[str | None, ...]:
    """Those of float32 products and convolutions; first the older setting for all, None where it contradicts the newer ones,
    which PyTorch refuses to read."""
    import torch

    try:
        for_all = torch.get_float32_matmul_precision()
    except RuntimeError:
        for_all = None
    return for_all, *(owner.fp32_precision for owner in _precision_owners())


def _write_precisions(precisions: Sequence[str | None]) -> None:
    import torch

    for_all, *rest = precisions
    if for_all is not None:
        torch.set_float32_matmul_precision(for_all)
    for owner, precision in zip(_precision_owners(), rest, strict=True):
        owner.fp32_precision = precision


def _precision_owners() -> Sequence[Any]:
    """From the general to the particular."""
    from torch import backends

    cudnn: Any = backends.cudnn
    mkldnn: Any = backends.mkldnn
    general: list[Any] = [backends, cudnn, mkldnn]
    products = [backends.cuda.matmul, mkldnn.matmul, cudnn.conv, mkldnn.conv, cudnn.rnn, mkldnn.rnn]
    return [*general, *products]
