"""Classifies exceptions that mean that a batch was too large, and makes running out of memory an answer, not an error."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch

from probe.device.protocol import Device
from probe.errors import UserCodeError, first_line, user_code_error
from probe.system.gpu_errors import sticky_gpu_error

Failure = Literal["oom", "kernel_limit", "host_oom"]

# Texts of errors without a type of their own. The type torch.OutOfMemoryError is checked first, because texts change with every
# release, and other errors quote them.
_TEXTS: tuple[tuple[Failure, str], ...] = (
    ("host_oom", "DefaultCPUAllocator"),  # "... can't allocate memory: you tried to allocate N bytes"
    ("host_oom", "not enough memory: you tried to allocate"),  # the same on Windows
    ("host_oom", "Cannot allocate memory"),  # "unable to mmap N bytes from file <...>: Cannot allocate memory (12)"
    ("host_oom", "unable to allocate shared memory"),  # at::MapAllocator, if /dev/shm is full
    ("host_oom", "out of shared memory"),  # a DataLoader whose worker got a bus error
    ("oom", "CUBLAS_STATUS_ALLOC_FAILED"),
    ("oom", "CUDNN_STATUS_ALLOC_FAILED"),
    ("oom", "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
    ("oom", "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    ("oom", "CUSOLVER_STATUS_ALLOC_FAILED"),
    ("oom", "CUSPARSE_STATUS_ALLOC_FAILED"),
    ("oom", "CUFFT_ALLOC_FAILED"),
    ("oom", "HIPBLAS_STATUS_ALLOC_FAILED"),
    ("oom", "miopenStatusAllocFailed"),
    ("oom", "CUDA out of memory"),
    ("oom", "CUDA error: out of memory"),
    ("oom", "CUDA driver error: out of memory"),
    ("oom", "CUDA_ERROR_OUT_OF_MEMORY"),  # the name in the driver, which Triton and others quote
    ("oom", "cudaErrorMemoryAllocation"),
    ("oom", "HIP out of memory"),
    ("oom", "HIP error: out of memory"),
    ("oom", "hipErrorOutOfMemory"),
    ("oom", "MPS backend out of memory"),
    ("oom", "UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY"),  # the driver of XPU devices
    ("oom", "Triton Error [CUDA]: out of memory"),
    (
        "oom",
        "Messsage: out of memory",
    ),  # Triton for AMD, up to 3.2: "Triton Error [HIP]:  Code: 2, Messsage: out of memory"
    ("oom", "Message: out of memory"),  # the same in later versions
    # On GPUs without NVML's processes (Jetson, MIG), an assertion of PyTorch 2.2 to 2.11 while it writes the text of an
    # out-of-memory error: https://github.com/pytorch/pytorch/issues/185240
    ("oom", "NVML_SUCCESS == "),
    ("oom", "failure 2 'out of memory'"),  # NCCL: "Cuda failure 2 'out of memory'"
    ("oom", "failure 'out of memory'"),
    ("kernel_limit", "CUDNN_STATUS_NOT_SUPPORTED"),  # for a huge batch: a dimension above 65535, not memory
    ("kernel_limit", "canUse32BitIndexMath"),
    ("kernel_limit", "integer out of range"),
    ("kernel_limit", "too many resources requested for launch"),
    ("kernel_limit", "CUDA error: invalid configuration argument"),  # a grid dimension above 65535
)


def classify_failure(error: BaseException) -> Failure | None:
    """What an error, or one that it groups or was raised from or while handling, means for the batch size.

    `oom`: the device ran out of memory. `host_oom`: the machine did. `kernel_limit`: an operator cannot take so many samples,
    or does not exist on this device, in which case it also fails for a small batch. None: unknown.
    """
    failure, _ = find_failure(error)
    return failure


def find_failure(error: BaseException) -> tuple[Failure | None, BaseException]:
    """The failure and the error that it was recognized by: `error` or one that it wraps; or None and `error`. After a sticky
    error of the GPU it is None, since then libraries fail to allocate as well."""
    if sticky_gpu_error() is not None:
        return None, error
    return next(
        ((failure, link) for link in _chain(error) if (failure := _own_failure(link)) is not None), (None, error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and the errors that it groups, or was raised from or while handling, outermost first, each once."""
    seen: set[int] = set()
    pending = [error]
    while pending:
        link = pending.pop()
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        pending += [other for other in (link.__context__, link.__cause__) if other is not None]
        pending += link.exceptions if isinstance(link, BaseExceptionGroup) else ()


def _own_failure(error: BaseException) -> Failure | None:
    if isinstance(error, torch.OutOfMemoryError):
        return "oom"
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return "host_oom"
    if not isinstance(error, RuntimeError):
        return None
    text = str(error)
    return next((failure for failure, part in _TEXTS if part in text), None)


Returned = TypeVar("Returned")
Failed = TypeVar("Failed")


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """The reason why a call failed, without its exception: the frames of an exception keep tensors alive."""

    failure: Failure
    message: str
    """The first line of the error message."""

    def as_error(self) -> Exception:
        """The lack of memory as an exception, for callers that let it pass."""
        return torch.OutOfMemoryError(self.message) if self.failure == "oom" else MemoryError(self.message)


def guarded(call: Callable[[], Returned], failure_of: Callable[[Exception], Failed | None]) -> Returned | Failed:
    """Return `call()`, or if it raises, the value that `failure_of` gives for the exception; None raises it again. At the
    return, the exception and its frames are gone, so that `Device.release` frees their tensors."""
    try:
        return call()
    except Exception as error:
        failed = failure_of(error)
        if failed is None:
            raise
    return failed


def within_memory(device: Device, call: Callable[[], Returned]) -> Returned | OutOfMemory:
    """Return `call()` with its allocations tracked, or OutOfMemory if the device or the host ran out of memory."""

    def tracked() -> Returned:
        with device.track():
            return call()

    return guarded(tracked, out_of_memory)


def training_error(title: str, error: Exception) -> UserCodeError:
    """An error of the task's code while `title` was trained, with what to do about it."""
    hint = None
    if classify_failure(error) == "kernel_limit":
        hint = "This may be a limit of a GPU kernel: `probe batch` finds out whether a smaller batch size runs."
    return user_code_error(f"Training {title} raised {type(error).__name__}: {error}", error, hint=hint)


def out_of_memory(error: Exception) -> OutOfMemory | None:
    """OutOfMemory if `error`, or an exception that it wraps, is a lack of memory; None otherwise."""
    failure, cause = find_failure(error)
    return OutOfMemory(failure, first_line(cause)) if failure in ("oom", "host_oom") else None
