"""Named data sets as tensors, loaded once per process."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from probe.errors import DataError, unknown_name
from probe.splits import hold_out_indices
from probe.zoo.images import MAX_RESIZED_BYTES, ResizedImages, SyntheticImages, resize_images
from probe.zoo.mnist import read_mnist

DATA_NAMES = ("digits", "fashion-mnist", "mnist", "synthetic")
_DIGITS_FILE = ("datasets", "data", "digits.csv.gz")
_DIGITS_TEST_SHARE = 0.2
_DIGITS_TEST_SEED = 0
"""The test part of digits is the same whatever the seed of a search: scores of different searches are comparable."""

Part = tuple[Tensor, Tensor] | ResizedImages | SyntheticImages


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedData:
    """A data set for classification: images (N, C, H, W) of float32, classes (N,) of int64."""

    train: Part
    test: Part | None
    num_classes: int
    input_shape: tuple[int, int, int]


def load_data(name: str, *, data_dir: Path, image_size: int | None = None) -> LoadedData:
    """The data set `name`, its files kept in `data_dir`, its images resized to `image_size` squared if that is given.

    Raises:
        TaskError: no such data set.
        DataError: its files cannot be downloaded, read or believed.
    """
    if name not in DATA_NAMES:
        message, hint = unknown_name("data set", name, DATA_NAMES)
        raise DataError(message, hint=hint)
    return _load(name, data_dir.absolute(), image_size)


@lru_cache(maxsize=4)
def _load(name: str, data_dir: Path, image_size: int | None) -> LoadedData:
    if name == "synthetic":
        images = SyntheticImages(image_size or 224)
        shape = (3, images.size, images.size)
        return LoadedData(train=images, test=None, num_classes=images.num_classes, input_shape=shape)
    if image_size is not None:
        whole = _load(name, data_dir, None)
        if whole.input_shape[1:] == (image_size, image_size):
            return whole
        return _resized(whole, image_size)
    return _load_digits() if name == "digits" else _load_mnist(name, data_dir)


def _load_digits() -> LoadedData:
    table = torch.from_numpy(_digits_table())
    images, classes = table[:, :-1].float().reshape(-1, 1, 8, 8) / 16, table[:, -1].long()
    train, test = (
        torch.from_numpy(part)
        for part in hold_out_indices(
            len(classes), share=_DIGITS_TEST_SHARE, seed=_DIGITS_TEST_SEED, labels=classes.numpy()
        )
    )
    return LoadedData(
        train=(images[train], classes[train]),
        test=(images[test], classes[test]),
        num_classes=10,
        input_shape=(1, 8, 8),
    )


def _digits_table() -> np.ndarray:
    """scikit-learn's digits, one a row: 64 pixels from 0 to 16, then the class; float64, (1797, 65).

    Its file is read past it where that can be found: importing scikit-learn costs every worker process half as much as
    importing torch.
    """
    spec = importlib.util.find_spec("sklearn")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    file = next((path for folder in folders if (path := Path(folder, *_DIGITS_FILE)).is_file()), None)
    if file is not None:
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])


def _load_mnist(name: str, data_dir: Path) -> LoadedData:
    (train_images, train_classes), (test_images, test_classes) = read_mnist(name, data_dir)
    train_images, test_images = train_images.float().div_(255), test_images.float().div_(255)
    mean, deviation = train_images.mean(), train_images.std()
    for images in (train_images, test_images):
        images.sub_(mean).div_(deviation.clamp_min(1e-6))
    return LoadedData(
        train=(train_images.unsqueeze(1), train_classes.long()),
        test=(test_images.unsqueeze(1), test_classes.long()),
        num_classes=10,
        input_shape=(1, *train_images.shape[1:]),
    )


def _resized(data: LoadedData, image_size: int) -> LoadedData:
    channels = data.input_shape[0]

    def resize(part: Part | None) -> Part | None:
        if not isinstance(part, tuple):
            return part
        images, classes = part
        num_bytes = len(images) * channels * image_size**2 * images.element_size()
        if num_bytes > MAX_RESIZED_BYTES:
            return ResizedImages(images, classes, image_size)
        return resize_images(images, image_size), classes

    train = resize(data.train)
    if train is None:
        raise AssertionError("a data set has a training part")
    shape = (channels, image_size, image_size)
    return LoadedData(train=train, test=resize(data.test), num_classes=data.num_classes, input_shape=shape)
