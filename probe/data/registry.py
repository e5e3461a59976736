"""All data sets by name, like `mnist`, and by kind and path, like `csv:houses.csv`; each is loaded once per process."""

from __future__ import annotations

import importlib
import os.path
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from probe.data import hyperparameters
from probe.data.protocol import NO_OPTIONS, DataModule, DataOptions, DataRequest, LoadedData
from probe.errors import DataError, TaskError, check_known, unknown_name
from probe.files import file_stamp, system_errors
from probe.limits import Rules

if TYPE_CHECKING:
    from probe.data.protocol import Split

_MNIST_FILES = (
    *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A download that `probe data` lists. Described here, so that nothing is imported to list it."""

    about: str
    """The data set in one line."""
    folder: str
    """Folder inside the data folder."""
    files: tuple[str, ...]
    """Files of the prepared data set; each may also be compressed, as NAME.gz."""
    module: str
    """Module with a function `fetch(name, data_dir, progress) -> str` that downloads missing files, reads them all and
    describes their contents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """Where a data set comes from."""

    module: str
    """Module with the contents of `DataModule`, imported on first use."""
    download: Download | None = None
    """How it is downloaded, or None if it needs no download."""
    hyperparameters: Rules = field(default_factory=dict)
    """Hyperparameters of the data set, like the window of a series."""
    metrics: tuple[str, ...] = ("accuracy",)
    """Metrics that a task on these data may have."""
    makes_sizes: bool = False
    """Whether the module makes images of `request.image_size` itself. Others are loaded once for all sizes, then resized."""


NAMED: dict[str, DataSource] = {
    "mnist": DataSource(
        module="probe.data.mnist",
        download=Download(
            about="70,000 handwritten digits, 28 x 28 pixels",
            folder="MNIST/raw",
            files=_MNIST_FILES,
            module="probe.data.mnist",
        ),
    ),
    "fashion-mnist": DataSource(
        module="probe.data.mnist",
        download=Download(
            about="70,000 pieces of clothing, 28 x 28 pixels",
            folder="FashionMNIST/raw",
            files=_MNIST_FILES,
            module="probe.data.mnist",
        ),
    ),
    "cifar10": DataSource(
        module="probe.data.cifar10",
        download=Download(
            about="60,000 color images of ten classes, 32 x 32 pixels",
            folder="cifar-10-batches-bin",
            files=(*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"),
            module="probe.data.cifar10",
        ),
    ),
    "reuters": DataSource(
        module="probe.data.files.text",
        hyperparameters=hyperparameters.TEXT,
        download=Download(
            about="11,228 newswires of 46 topics (Reuters-21578)",
            folder="reuters",
            files=("reuters21578-46.jsonl.gz",),
            module="probe.data.reuters",
        ),
    ),
    "digits": DataSource(module="probe.data.built_in"),
    "synthetic": DataSource(module="probe.data.built_in", makes_sizes=True),
}
"""Named data sets, those with a download in the order in which `probe data` lists them."""

_OF_NUMBERS = ("rmse", "mae")
KINDS: dict[str, DataSource] = {
    "csv": DataSource(module="probe.data.files.csv", metrics=("accuracy", *_OF_NUMBERS)),
    "folder": DataSource(module="probe.data.files.folder", makes_sizes=True),
    "series": DataSource(module="probe.data.files.series", hyperparameters=hyperparameters.SERIES, metrics=_OF_NUMBERS),
    "text": DataSource(module="probe.data.files.text", hyperparameters=hyperparameters.TEXT),
}
"""Kinds of files, by the text before the colon."""


def download_of(name: str) -> Download:
    """The download of a named data set. Raises DataError if there is none."""
    source = NAMED.get(name)
    if source is not None and source.download is not None:
        return source.download
    message, hint = unknown_name("data set to download:", name, [known for known in NAMED if NAMED[known].download])
    raise DataError(message if source is None else f"The data set '{name}' needs no download.", hint=hint)


def check_data_name(name: str) -> None:
    """Raise DataError unless `name` is a named data set, or a kind of data with a path."""
    kind, colon, path = name.partition(":")
    if not colon:
        own = ", ".join(f"{known}:PATH" for known in sorted(KINDS))
        check_known(DataError, "data set", name, tuple(NAMED), hint=f"For your own files: {own}.")
        return
    check_known(DataError, "kind of data", kind, tuple(KINDS))
    if not path:
        raise DataError(f"'{name}' names no file.", hint=f"Write the path after the colon: {kind}:PATH")


def check_data_exist(name: str) -> None:
    """Raise DataError unless `name` is a named data set, or a kind of data with an existing path. Nothing is read."""
    check_data_name(name)
    path = Path(name.partition(":")[2])
    if ":" in name and not os.path.exists(os.path.expanduser(path)):
        raise DataError(
            f"There is no file or folder {path}.",
            hint=f"Paths are relative to the working directory, {os.path.abspath('.')}.",
        )


def data_source(name: str) -> DataSource:
    """Where the data set comes from, and its hyperparameters. Raises DataError for an unknown name."""
    check_data_name(name)
    return _source(name)


def load_data(
    name: str,
    *,
    data_dir: Path,
    image_size: int | None = None,
    params: Mapping[str, Any] | None = None,
    options: DataOptions = NO_OPTIONS,
    val_fraction: float = 0.0,
) -> LoadedData:
    """Load a data set by name, or by kind and path like `csv:houses.csv`. Raises DataError, and TaskError if `image_size` is
    given for data that are not images."""
    check_data_name(name)
    with system_errors(DataError):
        request = DataRequest(
            name=name,
            data_dir=data_dir.absolute(),
            image_size=image_size,
            params=tuple(sorted((params or {}).items())),
            options=options,
            val_fraction=val_fraction,
        )
        return _load(request, file_stamp(request.path) if ":" in name else None)


@lru_cache(maxsize=4)
def _load(request: DataRequest, stamp: tuple[int, int] | None) -> LoadedData:
    size = request.image_size
    if size is None or _source(request.name).makes_sizes:
        return _module(request.name).load(request)
    data = _load(replace(request, image_size=None), stamp)
    if data.kind != "images":
        raise TaskError(
            f"{request.name} holds no images that could be resized to {size} x {size}.",
            hint="Remove --img, or image_size in the recipe's [task].",
        )
    return _resized(data, size)


def _resized(data: LoadedData, size: int) -> LoadedData:
    """`data` with square images of `size` pixels. Splits that create images on access have made them in that size."""
    from probe.data.images import MAX_RESIZED_BYTES, ResizedImages, resize_images

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


def _source(name: str) -> DataSource:
    kind, colon, _ = name.partition(":")
    return KINDS[kind] if colon else NAMED[name]


def _module(name: str) -> DataModule:
    return cast(DataModule, importlib.import_module(_source(name).module))
