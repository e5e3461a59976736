"""Ways to run a model faster: compiled by torch.compile, and with the channels last, for which GPUs with tensor cores have
faster convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from probe.device.protocol import Device
from probe.errors import DeviceError, TaskError, first_line

_HINT = "Set compile = false, with which errors of the model itself also show."
_MISSING = ("InvalidCxxCompiler", "TritonMissing", "TritonUnavailableError", "GPUTooOldForTriton")
"""Errors of torch.compile about the machine: no C++ compiler, no Triton, or a GPU that Triton does not support."""


def compile_forward(model: nn.Module, device: Device) -> None:
    """Compile the forward pass of `model`, in place, so that the names in its state_dict do not change. It is compiled at its
    first call. Raises DeviceError if the device counts memory operator by operator."""
    if device.limit_bytes is not None and not device.is_gpu:
        raise DeviceError(
            f"compile is true, but the {device.name} counts the memory of every operator, and a compiled model runs none.",
            hint="Set compile = false, or use --device cpu, without a limit, or a GPU.",
        )
    # Models of one class share their compiled code and a limit on how often it is compiled, above which it is not used.
    torch._dynamo.reset()
    model.compile()


@contextmanager
def compile_errors() -> Iterator[None]:
    """A context that turns errors of torch.compile into a TaskError, or a DeviceError if the machine lacks what it needs."""
    try:
        yield
    except torch._dynamo.exc.TorchDynamoException as error:
        cause = getattr(error, "inner_exception", None) or error.__cause__ or error
        kind = DeviceError if type(cause).__name__ in _MISSING else TaskError
        raise kind(f"The model cannot be compiled: {type(cause).__name__}: {first_line(cause)}", hint=_HINT) from error


_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}
"""Format by number of dimensions, those of samples and channels included."""


def store_channels_last(model: nn.Module) -> None:
    """Store the weights and buffers of `model` with the channels last, in place. Their shapes and values do not change."""
    for tensor in (*model.parameters(), *model.buffers()):
        if not is_lazy(tensor):
            tensor.data = channels_last(tensor.data)


def channels_last(tensor: Tensor) -> Tensor:
    """`tensor` with the channels last if it has two or three dimensions beside those of samples and channels."""
    memory_format = _FORMATS.get(tensor.dim()) if tensor.layout is torch.strided else None
    return tensor if memory_format is None else tensor.contiguous(memory_format=memory_format)
