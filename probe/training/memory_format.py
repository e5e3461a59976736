"""Memory formats of images and volumes: channels last, for which GPUs with tensor cores have faster convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

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
