"""Synthetic images, to measure memory and speed, which do not depend on the contents of images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import Dataset

from probe.data.protocol import DataRequest, LoadedData

KEYWORDS: tuple[str, ...] = ()
DEFAULT_SIZE = 224
_POOL_SIZE = 32


class SyntheticImages(Dataset[tuple[Tensor, Tensor]]):
    """Random images (3, size, size) of `num_classes` classes, taken in turn from a small pool.

    The data set is unbounded: an index may be larger than its nominal length, and so may a batch.
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

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index < 0:
            raise IndexError(f"the index of a synthetic image must not be negative, but is {index}")
        return self._images[index % _POOL_SIZE], self._classes[index % _POOL_SIZE]


def load(request: DataRequest) -> LoadedData:
    """Images of the requested size, without a test split."""
    images = SyntheticImages(request.image_size or DEFAULT_SIZE)
    shape = (3, images.size, images.size)
    return LoadedData(train=images, test=None, num_outputs=images.num_classes, input_shape=shape)
