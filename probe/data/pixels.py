"""Scaling of images of bytes inside the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelScaling:
    """Mean and standard deviation of each channel, for pixels from 0 to 1.

    Images stay bytes until the model scales them: a quarter of the memory and of the traffic of float32.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def of(cls, images: Tensor) -> PixelScaling:
        """The scaling of `images`, bytes (N, C, H, W). Exact, because it counts values instead of summing them."""
        values = torch.arange(256, dtype=torch.float64) / 255
        means, deviations = [], []
        for channel in range(images.shape[1]):
            counts = torch.bincount(images[:, channel].reshape(-1), minlength=256).double()
            mean = float((counts * values).sum() / counts.sum())
            variance = float((counts * (values - mean) ** 2).sum() / counts.sum())
            means.append(mean)
            deviations.append(max(variance**0.5, 1e-6))
        return cls(mean=tuple(means), deviation=tuple(deviations))


IMAGENET = PixelScaling(mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225))
"""The scaling that torchvision's weights were trained with."""


def take_bytes(model: nn.Module, scaling: PixelScaling) -> nn.Module:
    """Make `model` scale images of bytes before its forward pass. The names in its state_dict do not change."""
    mean = torch.tensor(scaling.mean).reshape(1, -1, 1, 1) * 255
    factor = 1 / (torch.tensor(scaling.deviation).reshape(1, -1, 1, 1) * 255)
    model.register_buffer("pixel_mean", mean, persistent=False)
    model.register_buffer("pixel_factor", factor, persistent=False)
    model.register_forward_pre_hook(_scale)
    return model


def _scale(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    images, *rest = inputs
    return ((images.to(model.pixel_mean.dtype) - model.pixel_mean) * model.pixel_factor, *rest)
