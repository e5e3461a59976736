"""Which errors are about the batch size."""

from __future__ import annotations

import errno

import pytest
import torch

from probe.device.failures import classify_failure, find_failure


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
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "host_oom"),
        (RuntimeError("unable to mmap 96 bytes from file <w.pt>: Cannot allocate memory (12)"), "host_oom"),
        (
            RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)"),
            "host_oom",
        ),
        (RuntimeError("CUDA driver error: out of memory"), "oom"),
        (RuntimeError("HIP error: out of memory"), "oom"),
        (RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ..."), "oom"),
        (RuntimeError("HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`"), "oom"),
        (RuntimeError("miopenStatusAllocFailed"), "oom"),
        (RuntimeError("hipErrorOutOfMemory"), "oom"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 17.17 GB, other allocations: 1.00 GB)"), "oom"),
        (RuntimeError("Native API failed. Native API returns: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"), "oom"),
        (RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"), "oom"),
        (RuntimeError("NCCL Error 1: unhandled cuda error\nCuda failure 2 'out of memory'"), "oom"),
        (RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 63.98 GiB"), "oom"),
        (RuntimeError("HIP error: hipErrorOutOfMemory"), "oom"),
        (RuntimeError("CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`"), "oom"),
        # triton/backends/nvidia/driver.c and triton/backends/amd/driver.c, gpuAssert
        (RuntimeError("Triton Error [CUDA]: out of memory"), "oom"),
        (RuntimeError("Triton Error [HIP]:  Code: 2, Messsage: out of memory"), "oom"),
        (RuntimeError("Triton Error [HIP]: Code: 2, Message: out of memory"), "oom"),
        (RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"), None),
        # pytorch/pytorch issues 121899 and 130486
        (
            RuntimeError(
                'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/pytorch/c10/cuda/CUDACachingAllocator.cpp":1090, please '
                "report a bug to PyTorch."
            ),
            "oom",
        ),
        (
            RuntimeError(
                "NVML_SUCCESS == DriverAPI::get()->nvmlInit_v2_() INTERNAL ASSERT FAILED at "
                '"../c10/cuda/CUDACachingAllocator.cpp":813, please report a bug to PyTorch.'
            ),
            "oom",
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), "oom"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), None),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, ...)`"), None),
        (RuntimeError("FIND was unable to find an engine to execute this computation"), None),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"), None),
        (OSError(errno.ENOENT, "No such file"), None),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x3 and 4x3)"), None),
        (ValueError("Expected more than 1 value per channel when training"), None),
        (ValueError("this text quotes CUDA out of memory"), None),
        (KeyboardInterrupt(), None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_failures_are_told_apart(error: BaseException, expected: str | None) -> None:
    assert classify_failure(error) == expected


def throw(error: BaseException) -> None:
    raise error


def raised_while_handling(inner: BaseException, outer: BaseException, *, how: str) -> BaseException:
    try:
        try:
            throw(inner)
        except BaseException as error:
            if how == "from":
                raise outer from error
            if how == "from None":
                raise outer from None
            throw(outer)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("how", ["from", "from None", "implicitly"])
def test_an_error_that_wraps_another_is_what_that_one_is(how: str) -> None:
    out_of_memory = torch.OutOfMemoryError("CUDA out of memory.")
    once = raised_while_handling(out_of_memory, ValueError("block 3 failed"), how=how)
    twice = raised_while_handling(once, KeyError("block"), how=how)
    assert classify_failure(twice) == "oom"
    assert find_failure(twice) == ("oom", out_of_memory)
    bug = raised_while_handling(KeyError("k"), ValueError("v"), how=how)
    assert find_failure(bug) == (None, bug)


def test_an_error_in_a_group_is_found() -> None:
    out_of_memory = torch.OutOfMemoryError("CUDA out of memory.")
    nested = ExceptionGroup("workers", [ValueError("v"), ExceptionGroup("gpus", [out_of_memory])])
    assert find_failure(nested) == ("oom", out_of_memory)
    assert find_failure(raised_while_handling(nested, KeyError("k"), how="from")) == ("oom", out_of_memory)
    assert classify_failure(ExceptionGroup("workers", [ValueError("v"), KeyError("k")])) is None


def test_the_text_of_an_error_in_an_error_of_the_users_is_found() -> None:
    """Frameworks write the text of an error into another one and drop the first."""
    quoted = RuntimeError(f"step 3 failed: {torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')}")
    assert classify_failure(quoted) == "oom"


def test_errors_that_wrap_each_other_in_a_circle_end() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__context__ = second, first
    assert classify_failure(first) is None


def test_an_allocation_that_the_host_cannot_serve_is_the_hosts() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**59, dtype=torch.uint8)
    assert classify_failure(caught.value) == "host_oom"
