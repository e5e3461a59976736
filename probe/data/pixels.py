"""Images as bytes: a quarter of the memory and of the traffic of numbers, which they become where the model is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelScaling:
    """Mean and standard deviation of each channel, of pixels from 0 to 1."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def of(cls, images: Tensor) -> PixelScaling:
        """Of `images` (N, C, H, W), bytes; counted, not summed: exact, and without a copy as numbers."""
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
"""What torchvision's weights were trained with."""


def take_bytes(model: nn.Module, scaling: PixelScaling) -> nn.Module:
    """The same model, which scales images of bytes before it looks at them. Its state_dict keeps its names."""
    mean = torch.tensor(scaling.mean).reshape(1, -1, 1, 1) * 255
    factor = 1 / (torch.tensor(scaling.deviation).reshape(1, -1, 1, 1) * 255)
    model.register_buffer("pixel_mean", mean, persistent=False)
    model.register_buffer("pixel_factor", factor, persistent=False)
    model.register_forward_pre_hook(_scale)
    return model


def _scale(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    images, *rest = inputs
    return ((images.to(model.pixel_mean.dtype) - model.pixel_mean) * model.pixel_factor, *rest)
