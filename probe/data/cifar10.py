"""CIFAR-10 (Krizhevsky 2009): 60,000 color images of 32 x 32 pixels, in the binary format, which contains no pickle."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from probe.data.download import RETRY_HINT, Progress, download_by_torchvision
from probe.data.images import PixelScaling
from probe.data.protocol import DataRequest, LoadedData
from probe.data.registry import download_of
from probe.errors import DataError
from probe.files import read_bytes, reason

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
"""Checksum of the archive, as published with the data set."""
_DOWNLOAD = download_of("cifar10")
FOLDER, FILES = _DOWNLOAD.folder, _DOWNLOAD.files
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGES_PER_FILE = 10_000
_SHAPE = (3, 32, 32)
_RECORD_BYTES = 1 + 3 * 32 * 32
"""A class, then the red, green and blue channels, each row by row."""


def load(request: DataRequest) -> LoadedData:
    """50,000 training and 10,000 test images as bytes (N, 3, 32, 32), scaled by the model with the training split's statistics.
    Missing files are downloaded into `data_dir`/cifar-10-batches-bin. Raises DataError if they cannot be downloaded or read."""
    train, test = _read_splits(request.data_dir)
    return LoadedData(
        train=train,
        test=test,
        num_outputs=len(CLASS_NAMES),
        input_shape=_SHAPE,
        class_names=CLASS_NAMES,
        pixels=PixelScaling.of(train[0]),
    )


def fetch(name: str, data_dir: Path, progress: Progress) -> str:
    """Download missing files and read all of them. torchvision verifies checksums."""
    (train, _), (test, _) = _read_splits(data_dir)
    return f"{len(train):,} training and {len(test):,} test images, 32 x 32 pixels"


def _read_splits(data_dir: Path) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """((training images, classes), (test images, classes))"""
    folder = data_dir / FOLDER
    if not all((folder / file).is_file() for file in FILES):
        download_by_torchvision(
            _DOWNLOAD, data_dir, title="CIFAR-10", source=URL, root=FOLDER, call=_download_and_unpack
        )
    *train_files, test_file = FILES
    images, classes = zip(*(_read(folder / file) for file in train_files), strict=True)
    return (torch.cat(images), torch.cat(classes)), _read(folder / test_file)


def _read(path: Path) -> tuple[Tensor, Tensor]:
    try:
        content = read_bytes(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason(error)}.") from None
    expected = IMAGES_PER_FILE * _RECORD_BYTES
    if len(content) != expected:
        problem = "incomplete" if len(content) < expected else "damaged"
        raise DataError(
            f"{path} is {problem}: it should have {expected:,} bytes, but has {len(content):,}.", hint=RETRY_HINT
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(IMAGES_PER_FILE, _RECORD_BYTES)
    classes = records[:, 0].astype(np.int64)
    if classes.max() >= len(CLASS_NAMES):
        row = int(classes.argmax())
        raise DataError(
            f"{path} is damaged: image {row} has class {classes[row]}, but classes are 0 to 9.", hint=RETRY_HINT
        )
    return torch.from_numpy(records[:, 1:].reshape(-1, *_SHAPE).copy()), torch.from_numpy(classes)


def _download_and_unpack(scratch: Path) -> None:
    from torchvision.datasets.utils import download_url

    download_url(URL, str(scratch), filename="cifar-10.tar.gz", md5=MD5)
    (scratch / FOLDER).mkdir()
    with tarfile.open(scratch / "cifar-10.tar.gz") as archive:
        for file in FILES:
            _unpack(archive, f"{FOLDER}/{file}", scratch / FOLDER / file)


def _unpack(archive: tarfile.TarFile, member: str, to: Path) -> None:
    """Copy only the content of a member, ignoring its path and attributes. Raises KeyError if it does not exist."""
    content = archive.extractfile(member)
    if content is None:
        raise KeyError(f"{member} is not a file")
    with content, to.open("wb") as copy:
        shutil.copyfileobj(content, copy)
