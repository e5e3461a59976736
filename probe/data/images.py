"""Resizing of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset

from probe.data.protocol import LoadedData

if TYPE_CHECKING:
    from probe.data.protocol import Split

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


def resize_data(data: LoadedData, size: int) -> LoadedData:
    """`data` with square images of `size` pixels. Splits that create images on access have made them in that size."""
    if data.input_shape[1:] == (size, size):
        return data
    channels = data.input_shape[0]

    def resize(split: Split) -> Split:
        if not isinstance(split, tuple):
            return split
        images, classes = split
        num_bytes = len(images) * channels * size**2 * images.element_size()
        if num_bytes > MAX_RESIZED_BYTES:
            return ResizedImages(images, classes, size)
        return resize_images(images, size), classes

    val, test = (None if split is None else resize(split) for split in (data.val, data.test))
    return replace(data, train=resize(data.train), val=val, test=test, input_shape=(channels, size, size))
