"""Which errors are about the batch size."""

from __future__ import annotations

import pytest
import torch

from probe.device.failures import classify_failure


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("whatever it says"), "oom"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "oom"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "oom"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be ..."), "oom"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if ..."), "kernel_limit"),
        (RuntimeError("CUDA error: too many resources requested for launch"), "kernel_limit"),
        (RuntimeError("Expected canUse32BitIndexMath(input) && canUse32BitIndexMath(output)"), "kernel_limit"),
        (RuntimeError("integer out of range"), "kernel_limit"),
        (MemoryError(), "host_oom"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x3 and 4x3)"), None),
        (ValueError("Expected more than 1 value per channel when training"), None),
        (ValueError("this text quotes CUDA out of memory"), None),
        (KeyboardInterrupt(), None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_failures_are_told_apart(error: BaseException, expected: str | None) -> None:
    assert classify_failure(error) == expected


def test_an_allocation_that_the_host_cannot_serve_is_the_hosts() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**59, dtype=torch.uint8)
    assert classify_failure(caught.value) == "host_oom"
