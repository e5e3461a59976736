"""CIFAR-10 (Krizhevsky 2009): 60,000 color images of 32 x 32 pixels, in its binary form, which no pickle is part of."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from probe.data.loaded import DataRequest, LoadedData
from probe.data.pixels import PixelScaling
from probe.errors import DataError, first_line

KEYWORDS: tuple[str, ...] = ()
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
"""As the data set's own page gives it."""
FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
FILES = (*TRAIN_FILES, TEST_FILE)
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGES_PER_FILE = 10_000
_SHAPE = (3, 32, 32)
_RECORD_BYTES = 1 + 3 * 32 * 32
"""A class, then red, green and blue, each row by row."""


def load(request: DataRequest) -> LoadedData:
    """50,000 images to train on, 10,000 to test on, as bytes (N, 3, 32, 32); the model scales them by the training part's
    statistics. Files are looked for in `data_dir`/cifar-10-batches-bin, and downloaded if any is missing.

    Raises DataError: a file is missing and cannot be downloaded, or is not what it should be.
    """
    folder = request.data_dir / FOLDER
    if not all((folder / file).is_file() for file in FILES):
        _download(request.data_dir, folder)
    parts = [_read(folder / file) for file in TRAIN_FILES]
    images, classes = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
    return LoadedData(
        train=(images, classes),
        test=_read(folder / TEST_FILE),
        num_outputs=len(CLASS_NAMES),
        input_shape=_SHAPE,
        class_names=CLASS_NAMES,
        pixels=PixelScaling.of(images),
    )


def _read(path: Path) -> tuple[Tensor, Tensor]:
    again = "Delete it and run again to download it, or put a good copy in its place."
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    expected = IMAGES_PER_FILE * _RECORD_BYTES
    if len(content) != expected:
        problem = "half-downloaded" if len(content) < expected else "damaged"
        raise DataError(
            f"{path} is {problem}: it should hold {expected:,} bytes and holds {len(content):,}.", hint=again
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(IMAGES_PER_FILE, _RECORD_BYTES)
    classes = records[:, 0].astype(np.int64)
    if classes.max() >= len(CLASS_NAMES):
        row = int(classes.argmax())
        raise DataError(
            f"{path} is damaged: image {row} has the class {classes[row]}; classes go from 0 to 9.", hint=again
        )
    return torch.from_numpy(records[:, 1:].reshape(-1, *_SHAPE).copy()), torch.from_numpy(classes)


def _download(data_dir: Path, folder: Path) -> None:
    """All files into `folder`. They are moved there when complete, so that no half-written one is ever found there."""
    from torchvision.datasets.utils import download_url

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=".download-") as scratch:
            with contextlib.redirect_stdout(sys.stderr):  # where torchvision says what it does
                download_url(URL, scratch, filename="cifar-10.tar.gz", md5=MD5)
            with tarfile.open(Path(scratch) / "cifar-10.tar.gz") as archive:
                for file in FILES:
                    _unpack(archive, file, Path(scratch) / file)
            for file in FILES:
                (Path(scratch) / file).replace(folder / file)
    except (RuntimeError, OSError, KeyError, tarfile.TarError) as error:
        if isinstance(error, PermissionError) or not folder.is_dir():
            raise DataError(
                f"{folder} cannot be written: {error}.", hint="Choose another folder with --data-dir or $PROBE_DATA."
            ) from None
        missing = [file for file in FILES if not (folder / file).is_file()]
        raise DataError(
            f"CIFAR-10 is not in {folder} and could not be downloaded: {first_line(error)}",
            hint=f"Put {', '.join(missing)} there, from {URL}, or name the folder that has {FOLDER} with --data-dir or "
            "$PROBE_DATA.",
        ) from None


def _unpack(archive: tarfile.TarFile, file: str, to: Path) -> None:
    """The content alone: whatever else the archive says of the file is not believed. Raises KeyError where it is not there."""
    content = archive.extractfile(f"{FOLDER}/{file}")
    if content is None:
        raise KeyError(f"{file} is no file")
    with content, to.open("wb") as copy:
        shutil.copyfileobj(content, copy)
