"""The real words of errors, and what probe makes of them. Each error has a process of its own, because some end a context."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gpu_session_stages.session import Session, first_line, is_fake

MIB = 2**20
MANY = 70_000
"""More samples than 65,535, the limit of two of a grid's three dimensions."""
ASSERT, ILLEGAL_ADDRESS = 710, 700
functional = nn.functional


def run(session: Session) -> None:
    def provoked(error: str) -> Any:
        return session.in_new_process(provoke, error, session.device)

    def tried(operator: str) -> Any:
        return session.in_new_process(try_operator, operator, session.device)

    errors, operators = (SMALL_CASES, SMALL_OPERATORS) if session.small else (tuple(CASES), tuple(OPERATORS))
    session.measure("Errors", [{"error": name} for name in errors], provoked)
    session.measure(f"Operators on {MANY:,} samples", [{"operator": name} for name in operators], tried)


def provoke(name: str, device: str) -> dict[str, Any]:
    """In a new process: the error, what `classify_failure` says of it, and whether the GPU works afterwards."""
    cause, expected = CASES[name]
    return {"expected": expected, **outcome(lambda: cause(torch.device(device)), device)}


def try_operator(name: str, device: str) -> dict[str, Any]:
    return outcome(lambda: OPERATORS[name](torch.device(device)), device)


def outcome(action: Callable[[], object], device: str) -> dict[str, Any]:
    from probe.device.failures import classify_failure

    found: dict[str, Any] = {"means": "no error", "type": None, "text": None}
    try:
        action()
        torch.cuda.synchronize(device)
    except Exception as error:
        found = {"means": classify_failure(error), "type": type(error).__name__, "text": first_line(error)}
    return {**found, "works_afterwards": works(device)}


def works(device: str) -> bool:
    """Whether a kernel runs. What the error has left is freed first."""
    try:
        torch.cuda.empty_cache()
        (torch.ones(4, device=device) + 1).sum().item()
    except RuntimeError:
        return False
    return True


def too_large_tensor(device: torch.device) -> Tensor:
    return torch.empty(2 * torch.cuda.get_device_properties(device).total_memory, dtype=torch.uint8, device=device)


def above_the_limit(device: torch.device) -> Tensor:
    torch.cuda.set_per_process_memory_fraction(0.25, device)
    return torch.empty(torch.cuda.get_device_properties(device).total_memory // 2, dtype=torch.uint8, device=device)


def in_backward(device: torch.device) -> None:
    """The forward pass needs twice the weight, the backward pass three times."""
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(160 * MIB / total, device)
    weight = torch.ones(64 * MIB // 4, device=device, requires_grad=True)
    torch.autograd.backward(weight.exp().sum())


def pinned_memory(_: torch.device) -> Tensor:
    return torch.empty(2**48, dtype=torch.uint8, pin_memory=True)


def fill(device: torch.device, *, left: int = 0) -> list[Tensor]:
    """Take all memory but `left` and what is smaller than a block."""
    held, spare = [], torch.empty(left, dtype=torch.uint8, device=device)
    size = torch.cuda.mem_get_info(device)[0]
    while size >= MIB:
        try:
            held.append(torch.empty(size, dtype=torch.uint8, device=device))
        except torch.OutOfMemoryError:
            size //= 2
    del spare
    torch.cuda.empty_cache()
    return held


def on_a_full_gpu(
    prepare: Callable[[torch.device], Callable[[], object]], *, left: int = 0
) -> Callable[[torch.device], object]:
    """Fill the GPU, then call an operator whose inputs are there already, so that only the library lacks memory."""

    def run_it(device: torch.device) -> object:
        operator = prepare(device)
        held = fill(device, left=left)
        result = operator()
        torch.cuda.synchronize(device)
        del held
        return result

    return run_it


def kernel(device: torch.device) -> Callable[[], object]:
    values = torch.empty(64, device=device)
    return lambda: values.cumsum(0)


def product(device: torch.device) -> Callable[[], object]:
    matrix = torch.empty(64, 64, device=device)
    return lambda: matrix @ matrix


def convolution(device: torch.device) -> Callable[[], object]:
    images, weight = torch.empty(4, 8, 32, 32, device=device), torch.empty(8, 8, 3, 3, device=device)
    return lambda: functional.conv2d(images, weight)


def device_assert(device: torch.device) -> object:
    inject(ASSERT)
    return functional.cross_entropy(torch.zeros(4, 3, device=device), torch.full((4,), 7, device=device)).item()


class _Beyond:
    """A tensor that begins in a block of the GPU and ends far behind it."""

    def __init__(self, start: Tensor) -> None:
        self.__cuda_array_interface__ = {
            "shape": (2**34,),
            "typestr": "<f4",
            "data": (start.data_ptr(), False),
            "version": 3,
        }


def illegal_address(device: torch.device) -> object:
    start = torch.ones(512, device=device)
    beyond = torch.as_tensor(_Beyond(start), device=device)
    inject(ILLEGAL_ADDRESS)
    return beyond[::4096].sum().item()


def inject(error: int) -> None:
    """Kernels of the fake driver do nothing, so the next one is made to fail."""
    if is_fake():
        ctypes.CDLL(None).fake_fail_launch_after(ctypes.c_long(0), error, 1)


CASES: Mapping[str, tuple[Callable[[torch.device], object], str | None]] = {
    "a tensor larger than the GPU": (too_large_tensor, "oom"),
    "above the limit of a smaller GPU": (above_the_limit, "oom"),
    "in the backward pass": (in_backward, "oom"),
    "first kernel on a full GPU": (on_a_full_gpu(kernel), "oom"),
    "first matrix product on a full GPU": (on_a_full_gpu(product), "oom"),
    "first convolution on a full GPU": (on_a_full_gpu(convolution), "oom"),
    "first convolution with 64 MiB left": (on_a_full_gpu(convolution, left=64 * MIB), "oom"),
    "too much pinned memory": (pinned_memory, "host_oom"),
    "a class that does not exist (device-side assert)": (device_assert, None),
    "an address that does not exist": (illegal_address, None),
}
"""Causes of errors, and what probe should make of them if they occur."""


def _images(device: torch.device, *shape: int) -> Tensor:
    return torch.empty(MANY, *shape, device=device)


def _attention(device: torch.device) -> Tensor:
    heads = torch.empty(MANY, 1, 16, 8, device=device)
    with nn.attention.sdpa_kernel(nn.attention.SDPBackend.EFFICIENT_ATTENTION):
        return functional.scaled_dot_product_attention(heads, heads, heads)


OPERATORS: Mapping[str, Callable[[torch.device], object]] = {
    "attention, memory-efficient": _attention,
    "reflection padding": lambda device: functional.pad(_images(device, 1, 4, 4), (1, 1, 1, 1), mode="reflect"),
    "replication padding, 3-d": lambda device: functional.pad(_images(device, 1, 2, 2, 2), (1,) * 6, mode="replicate"),
    "adaptive average pooling": lambda device: functional.adaptive_avg_pool2d(_images(device, 1, 4, 4), 2),
    "adaptive max pooling, 3-d": lambda device: functional.adaptive_max_pool3d(_images(device, 1, 4, 4, 4), 2),
    "max pooling, 3-d": lambda device: functional.max_pool3d(_images(device, 1, 4, 4, 4), 2),
    "upsampling, bicubic": lambda device: functional.interpolate(
        _images(device, 1, 4, 4), scale_factor=2, mode="bicubic"
    ),
    "grid_sample": lambda device: functional.grid_sample(
        _images(device, 1, 4, 4), _images(device, 4, 4, 2), align_corners=False
    ),
    "convolution": lambda device: functional.conv2d(_images(device, 1, 4, 4), torch.empty(1, 1, 3, 3, device=device)),
    "LSTM": lambda device: nn.LSTM(4, 4, device=device)(torch.empty(4, MANY, 4, device=device)),
    "batched product": lambda device: torch.bmm(_images(device, 4, 4), _images(device, 4, 4)),
    "2**31 values, bilinear and channels_last": lambda device: functional.interpolate(
        torch.empty(2, 1024, 512, 512, device=device, dtype=torch.bfloat16).contiguous(
            memory_format=torch.channels_last
        ),
        scale_factor=2,
        mode="bilinear",
    ),
}
"""Operators that PyTorch has, or had, limits of grids or indices for."""

SMALL_CASES = (
    "in the backward pass",
    "first matrix product on a full GPU",
    "a class that does not exist (device-side assert)",
)
SMALL_OPERATORS = ("replication padding, 3-d",)
