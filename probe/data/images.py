"""Images: scaling of bytes inside the model, and resizing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.data import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelScaling:
    """Mean and standard deviation of each channel, for pixels from 0 to 1. Images stay bytes until the model scales them: a
    quarter of the memory and of the traffic of float32."""

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


MAX_RESIZED_BYTES = 2**30
"""Largest split that is resized once and kept in memory. Larger ones are resized batch by batch."""
_CHUNK = 1024


def resize_images(images: Tensor, size: int) -> Tensor:
    """(N, C, H, W) -> (N, C, size, size), bilinear, antialiased if the images become smaller."""
    return torch.cat(
        [
            interpolate(chunk, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
            for chunk in torch.split(images, _CHUNK)
        ]
    )


class ResizedImages(Dataset[tuple[Tensor, Tensor]]):
    """Images that are resized on access, because they would be too large to keep: (C, size, size) and a class number each."""

    def __init__(self, images: Tensor, classes: Tensor, size: int) -> None:
        self.images = images
        self.targets = classes
        self.size = size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return resize_images(self.images[index].unsqueeze(0), self.size)[0], self.targets[index]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Called by DataLoader for a whole batch, which is resized at once."""
        chosen = torch.as_tensor(indices)
        return list(zip(resize_images(self.images[chosen], self.size), self.targets[chosen], strict=True))
