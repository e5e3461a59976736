"""Errors after which a process cannot use its GPU any more."""

from __future__ import annotations

import sys

STICKY_HINT = (
    "After such an error a process cannot use the GPU any more. A GPU reports errors late: the same command with --device cpu "
    "(in Python: device='cpu') names the line that causes this one."
)


def sticky_gpu_error() -> str | None:
    """The error that all work on a GPU of this process ends in from now on, or None if its GPUs work. Waits for queued work.

    CUDA's errors are sticky if they leave the process in an inconsistent state, which only its end resolves: device-side
    asserts, illegal or misaligned addresses, failures and timeouts of launches, uncorrectable ECC errors and others
    (https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html, cudaError_t). The GPU is asked, because an
    exception does not tell: libraries report such an error under names of their own, like CUBLAS_STATUS_EXECUTION_FAILED,
    later than it happens, and the code of a task may catch it.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    for index in range(torch.cuda.device_count()):
        if torch.cuda.memory_reserved(index) == 0:  # unused, and asking it would create a context
            continue
        try:
            torch.cuda.synchronize(index)
        except RuntimeError as error:
            return str(error).partition("\n")[0]
    return None


def with_sticky_cause(message: str) -> tuple[str, str | None]:
    """The message of an error, with the sticky error of the GPU if there is one, and a hint about that."""
    cause = sticky_gpu_error()
    if cause is None:
        return message, None
    said = message.partition("\n")[0]  # the lines after it advise how to debug kernels
    return said if cause in said else f"{said} ({cause})", STICKY_HINT
