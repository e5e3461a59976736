"""MNIST and Fashion-MNIST.

torchvision knows the URLs and checksums of the files. They are read here, because torchvision's reader does not detect
truncated or foreign files and fails somewhere inside; the error must name the file.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from probe.data.download import RETRY_HINT, Progress, download_by_torchvision, find_file, find_files
from probe.data.protocol import DataRequest, LoadedData
from probe.data.registry import download_of
from probe.errors import DataError
from probe.files import read_bytes, reason

TITLES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
"""Names of the data sets in torchvision."""
FILES = download_of("mnist").files

ImagesAndClasses = tuple[Tensor, Tensor]


def load(request: DataRequest) -> LoadedData:
    """60,000 training and 10,000 test images (N, 1, 28, 28) of float32, standardized with the training split's statistics."""
    (train_images, train_classes), (test_images, test_classes) = read_mnist(request.name, request.data_dir)
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


def fetch(name: str, data_dir: Path, progress: Progress) -> str:
    """Download missing files and read all of them. torchvision verifies checksums."""
    (images, _), (test_images, _) = read_mnist(name, data_dir)
    height, width = images.shape[1:]
    return f"{len(images):,} training and {len(test_images):,} test images, {height} x {width} pixels"


def read_mnist(name: str, data_dir: Path) -> tuple[ImagesAndClasses, ImagesAndClasses]:
    """((training images, classes), (test images, classes)), images (N, H, W), all uint8. Missing files are downloaded into
    `data_dir`/MNIST/raw (or FashionMNIST/raw). Raises DataError."""
    data = download_of(name)
    folder = data_dir / data.folder
    if find_files(data, data_dir) is None:
        _download(name, data_dir)
    splits = []
    for images_file, classes_file in (data.files[:2], data.files[2:]):
        images, classes = _read(folder, images_file, dimensions=3), _read(folder, classes_file, dimensions=1)
        if len(images) != len(classes) or len(images) == 0:
            raise DataError(
                f"{images_file} has {len(images)} images, but {classes_file} has {len(classes)} labels.",
                hint=f"Delete both from {folder} and run again to download them.",
            )
        if classes.max() > 9:
            raise DataError(
                f"{folder / classes_file} has the label {int(classes.max())}, but labels are 0 to 9.",
                hint="Delete the file and run again to download it.",
            )
        splits.append((images, classes))
    return splits[0], splits[1]


def _read(folder: Path, file: str, *, dimensions: int) -> Tensor:
    """Read an idx file of unsigned bytes: two zeros, type 8, number of dimensions, each dimension as a 32-bit integer, data.
    Format: http://yann.lecun.com/exdb/mnist, "The IDX file format"."""
    path = find_file(folder, file) or folder / file
    try:
        content = gzip.decompress(read_bytes(path)) if path.suffix == ".gz" else read_bytes(path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged or incomplete: {error}.", hint=RETRY_HINT) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason(error)}.") from None
    header = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) < header:
        raise DataError(f"{path} is not an idx file of {dimensions}-dimensional bytes.", hint=RETRY_HINT)
    shape = [int.from_bytes(content[start : start + 4], "big") for start in range(4, header, 4)]
    expected, found = math.prod(shape), len(content) - header
    if found != expected:
        problem = "incomplete" if found < expected else "damaged"
        raise DataError(
            f"{path} is {problem}: it should have {expected:,} bytes of data, but has {found:,}.", hint=RETRY_HINT
        )
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape).copy())


def _download(name: str, data_dir: Path) -> None:
    from torchvision import datasets

    title = TITLES[name]
    kind = getattr(datasets, title)
    download_by_torchvision(
        download_of(name),
        data_dir,
        title=title,
        source=kind.mirrors[-1],
        root=f"{title}/raw",
        call=lambda scratch: kind(scratch, download=True),
    )
