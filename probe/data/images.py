"""Image data sets that are made when asked for: resized ones and synthetic ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset

MAX_RESIZED_BYTES = 2**30
"""Up to this size a part is resized once and kept as a tensor; beyond it, batch by batch."""
_CHUNK = 1024
_POOL_SIZE = 32

Sample = tuple[Tensor, Tensor]


def resize_images(images: Tensor, size: int) -> Tensor:
    """(N, C, H, W) -> (N, C, size, size), bilinear, with antialiasing where that is smaller."""
    return torch.cat(
        [
            interpolate(chunk, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
            for chunk in torch.split(images, _CHUNK)
        ]
    )


class ResizedImages(Dataset[Sample]):
    """Images of a tensor too large to be kept resized: (C, size, size) and a class number each."""

    def __init__(self, images: Tensor, classes: Tensor, size: int) -> None:
        self.images = images
        self.targets = classes
        self.size = size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return resize_images(self.images[index].unsqueeze(0), self.size)[0], self.targets[index]

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """What a DataLoader calls for a whole batch: one resize for all of it."""
        chosen = torch.as_tensor(indices)
        return list(zip(resize_images(self.images[chosen], self.size), self.targets[chosen], strict=True))


class SyntheticImages(Dataset[Sample]):
    """Random images (3, size, size) of `num_classes` classes, taken in turn from a small pool.

    For measuring memory and speed, which do not depend on what the pixels show. As many as one likes: a batch may be
    larger than the nominal length.
    """

    unbounded = True

    def __init__(self, size: int, num_classes: int = 1000) -> None:
        self.size = size
        self.num_classes = num_classes
        generator = torch.Generator().manual_seed(0)
        self._images = torch.randn(_POOL_SIZE, 3, size, size, generator=generator)
        self._classes = torch.randint(num_classes, (_POOL_SIZE,), generator=generator)

    def __len__(self) -> int:
        return 2**20

    def __getitem__(self, index: int) -> Sample:
        if index < 0:
            raise IndexError(f"synthetic images are counted from 0, not {index}")
        return self._images[index % _POOL_SIZE], self._classes[index % _POOL_SIZE]
