"""Data sets by name, like `mnist`, or by kind and path, like `csv:houses.csv`; loaded once per process."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from probe.data.digits import load_digits
from probe.data.images import MAX_RESIZED_BYTES, ResizedImages, SyntheticImages, resize_images
from probe.data.loaded import DataModule, DataRequest, LoadedData, Part
from probe.data.mnist import read_mnist
from probe.data.options import NO_OPTIONS, DataOptions
from probe.errors import DataError, TaskError, unknown_name

_NAMED_MODULES: dict[str, str] = {"cifar10": "probe.data.cifar10", "reuters": "probe.data.files.text"}
"""Named data sets with a module of their own."""
_KIND_MODULES: dict[str, str] = {
    "csv": "probe.data.files.csv",
    "folder": "probe.data.files.folder",
    "series": "probe.data.files.series",
    "text": "probe.data.files.text",
}
"""What stands before the colon -> who reads it."""
DATA_NAMES = tuple(sorted(("digits", "fashion-mnist", "mnist", "synthetic", *_NAMED_MODULES)))
DATA_KINDS = tuple(sorted(_KIND_MODULES))


def check_data_name(name: str) -> None:
    """Raise DataError unless `name` is a data set, or a kind of data with a path behind it."""
    kind, colon, path = name.partition(":")
    if not colon:
        if name not in DATA_NAMES:
            message, hint = unknown_name("data set", name, DATA_NAMES)
            kinds = ", ".join(f"{known}:PATH" for known in DATA_KINDS)
            raise DataError(message, hint=f"{hint} Your own: {kinds}." if kinds else hint)
        return
    if kind not in DATA_KINDS:
        message, hint = unknown_name("kind of data", kind, DATA_KINDS)
        raise DataError(message, hint=hint)
    if not path:
        raise DataError(f"'{name}' names no file.", hint=f"Write the path behind the colon: {kind}:PATH")


def data_keywords(name: str) -> tuple[str, ...]:
    """The hyperparameters of a data set itself, like the window of a series. Raises DataError for an unknown name."""
    check_data_name(name)
    module = _module(name)
    return () if module is None else module.KEYWORDS


def load_data(
    name: str,
    *,
    data_dir: Path,
    image_size: int | None = None,
    params: Mapping[str, Any] | None = None,
    options: DataOptions = NO_OPTIONS,
    val_fraction: float = 0.0,
) -> LoadedData:
    """The data set `name`: its files kept in `data_dir` or where its path says, its images resized to `image_size` squared
    if that is given, `params` its own hyperparameters. `val_fraction`: see DataRequest.

    Raises:
        DataError: no such data set, or its files cannot be downloaded, read or believed.
        TaskError: `image_size` for data that are no images.
    """
    check_data_name(name)
    request = DataRequest(
        name=name,
        data_dir=data_dir.absolute(),
        image_size=image_size,
        params=tuple(sorted((params or {}).items())),
        options=options,
        val_fraction=val_fraction,
    )
    return _load(request, _stamp(request))


def _stamp(request: DataRequest) -> tuple[int, int] | None:
    """Changes with the file, so that one edited in between is read again."""
    if ":" not in request.name or not request.path.exists():
        return None
    status = request.path.stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=4)
def _load(request: DataRequest, stamp: tuple[int, int] | None) -> LoadedData:
    name, image_size = request.name, request.image_size
    if name == "synthetic":
        images = SyntheticImages(image_size or 224)
        shape = (3, images.size, images.size)
        return LoadedData(train=images, test=None, num_outputs=images.num_classes, input_shape=shape)
    if image_size is None:
        return _load_unsized(request)
    whole = _load(replace(request, image_size=None), stamp) if _module(name) is None else _load_unsized(request)
    if whole.kind != "images":
        raise TaskError(
            f"{name} holds no images that could be resized to {image_size} x {image_size}.",
            hint="Leave out --img, or image_size in the recipe's [task].",
        )
    if whole.input_shape[1:] == (image_size, image_size):
        return whole
    return _resized(whole, image_size)


def _load_unsized(request: DataRequest) -> LoadedData:
    module = _module(request.name)
    if module is not None:
        return module.load(request)
    return load_digits() if request.name == "digits" else _load_mnist(request.name, request.data_dir)


def _module(name: str) -> DataModule | None:
    kind, colon, _ = name.partition(":")
    found = _KIND_MODULES.get(kind) if colon else _NAMED_MODULES.get(name)
    return None if found is None else cast(DataModule, importlib.import_module(found))


def _load_mnist(name: str, data_dir: Path) -> LoadedData:
    (train_images, train_classes), (test_images, test_classes) = read_mnist(name, data_dir)
    train_images, test_images = train_images.float().div_(255), test_images.float().div_(255)
    mean, deviation = train_images.mean(), train_images.std()
    for images in (train_images, test_images):
        images.sub_(mean).div_(deviation.clamp_min(1e-6))
    return LoadedData(
        train=(train_images.unsqueeze(1), train_classes.long()),
        test=(test_images.unsqueeze(1), test_classes.long()),
        num_outputs=10,
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
    return replace(data, train=train, val=resize(data.val), test=resize(data.test), input_shape=shape)
