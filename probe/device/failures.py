"""Which exceptions mean that a batch was too large, and in which way."""

from __future__ import annotations

from typing import Literal

import torch

Failure = Literal["oom", "kernel_limit", "host_oom"]

# Texts of errors that have no type of their own. The typed torch.OutOfMemoryError is asked first: texts change with every
# release and other people's errors quote them.
_TEXTS: tuple[tuple[Failure, str], ...] = (
    ("host_oom", "DefaultCPUAllocator"),  # "... can't allocate memory: you tried to allocate N bytes"
    ("host_oom", "not enough memory: you tried to allocate"),  # the same on Windows
    ("oom", "CUBLAS_STATUS_ALLOC_FAILED"),
    ("oom", "CUDNN_STATUS_ALLOC_FAILED"),
    ("oom", "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
    ("oom", "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    ("oom", "CUSOLVER_STATUS_ALLOC_FAILED"),
    ("oom", "CUDA out of memory"),
    ("oom", "CUDA error: out of memory"),
    ("oom", "HIP out of memory"),
    ("kernel_limit", "CUDNN_STATUS_NOT_SUPPORTED"),  # at a huge batch a dimension past 65535, not memory
    ("kernel_limit", "canUse32BitIndexMath"),
    ("kernel_limit", "integer out of range"),
    ("kernel_limit", "too many resources requested for launch"),
    ("kernel_limit", "CUDA error: invalid configuration argument"),  # a grid dimension past 65535
)


def classify_failure(error: BaseException) -> Failure | None:
    """What `error` says about the batch size; None where it says nothing of the kind: a bug, then.

    oom: the device's memory. host_oom: the machine's. kernel_limit: an operator that takes no more samples at once.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return "oom"
    if isinstance(error, MemoryError):
        return "host_oom"
    if not isinstance(error, RuntimeError):
        return None
    text = str(error)
    return next((failure for failure, part in _TEXTS if part in text), None)
