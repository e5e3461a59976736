"""The data sets that need no files: scikit-learn's handwritten digits, and synthetic images to measure memory and speed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from probe.data.protocol import TEST_SEED, DataRequest, LoadedData
from probe.splits import hold_out_indices

DEFAULT_SIZE = 224
_POOL_SIZE = 32
_DIGITS_FILE = ("datasets", "data", "digits.csv.gz")
_TEST_FRACTION = 0.2


def load(request: DataRequest) -> LoadedData:
    """`digits`: 1,797 images (N, 1, 8, 8) scaled to 0 .. 1, of which a stratified fifth is the test split. `synthetic`: images
    of the requested size, without a test split."""
    if request.name == "digits":
        return _load_digits()
    images = SyntheticImages(request.image_size or DEFAULT_SIZE)
    shape = (3, images.size, images.size)
    return LoadedData(train=images, test=None, num_outputs=images.num_classes, input_shape=shape)


class SyntheticImages(Dataset[tuple[Tensor, Tensor]]):
    """Random images (3, size, size) of `num_classes` classes, taken in turn from a small pool. The data set is unbounded: an
    index may be larger than its nominal length, and so may a batch."""

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


def _load_digits() -> LoadedData:
    table = torch.from_numpy(_read_digits())
    images, classes = table[:, :-1].float().reshape(-1, 1, 8, 8) / 16, table[:, -1].long()
    train, test = (
        torch.from_numpy(rows)
        for rows in hold_out_indices(len(classes), fraction=_TEST_FRACTION, seed=TEST_SEED, labels=classes.numpy())
    )
    return LoadedData(
        train=(images[train], classes[train]),
        test=(images[test], classes[test]),
        num_outputs=10,
        input_shape=(1, 8, 8),
    )


def _read_digits() -> np.ndarray:
    """One digit per row: 64 pixels from 0 to 16, then the class; float64, (1797, 65). scikit-learn's file is read directly if
    it is found: importing scikit-learn costs every worker process half as much time as importing torch."""
    spec = importlib.util.find_spec("sklearn")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    file = next((path for folder in folders if (path := Path(folder, *_DIGITS_FILE)).is_file()), None)
    if file is not None:
        return np.loadtxt(file, delimiter=",")
    from sklearn import datasets

    digits = datasets.load_digits()
    return np.column_stack([digits.data, digits.target])
