"""MNIST and Fashion-MNIST: files on disk -> tensors of uint8.

torchvision knows where to download the files and their checksums. Reading them is done here, because its reader takes a
truncated or foreign file for granted and fails somewhere inside; a half-written file must be named.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from probe.errors import DataError

FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

ImagesAndClasses = tuple[Tensor, Tensor]


def read_mnist(name: str, data_dir: Path) -> tuple[ImagesAndClasses, ImagesAndClasses]:
    """((train images, train classes), (test images, test classes)), images (N, H, W), all uint8.

    Files are looked for in `data_dir`/MNIST/raw (FashionMNIST/raw), unpacked or as .gz, and downloaded if any is missing.

    Raises:
        DataError: a file is missing and cannot be downloaded, or is not what it should be.
    """
    folder = data_dir / FOLDERS[name] / "raw"
    if any(_find(folder, file) is None for file in FILES):
        _download(name, data_dir, folder)
    parts = []
    for images_file, classes_file in (FILES[:2], FILES[2:]):
        images, classes = _read(folder, images_file, dimensions=3), _read(folder, classes_file, dimensions=1)
        if len(images) != len(classes) or len(images) == 0:
            raise DataError(
                f"{images_file} holds {len(images)} images and {classes_file} {len(classes)} labels.",
                hint=f"Delete both from {folder} and run again to download them.",
            )
        if classes.max() > 9:
            raise DataError(
                f"{folder / classes_file} holds the label {int(classes.max())}; labels go from 0 to 9.",
                hint="Delete the file and run again to download it.",
            )
        parts.append((images, classes))
    return parts[0], parts[1]


def _find(folder: Path, file: str) -> Path | None:
    return next((path for path in (folder / file, folder / f"{file}.gz") if path.exists()), None)


def _read(folder: Path, file: str, *, dimensions: int) -> Tensor:
    """An idx file of unsigned bytes: two zeros, type 8, the number of dimensions, each dimension as a 32-bit integer, data.

    Format: http://yann.lecun.com/exdb/mnist, "The IDX file format".
    """
    path = _find(folder, file) or folder / file
    again = "Delete it and run again to download it, or put a good copy in its place."
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged or half-downloaded: {error}.", hint=again) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    header = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) < header:
        raise DataError(f"{path} is not an idx file of {dimensions}-dimensional bytes.", hint=again)
    shape = [int.from_bytes(content[start : start + 4], "big") for start in range(4, header, 4)]
    if len(content) - header != math.prod(shape):
        problem = "half-downloaded" if len(content) - header < math.prod(shape) else "damaged"
        raise DataError(
            f"{path} is {problem}: it should hold {math.prod(shape):,} bytes of data and holds {len(content) - header:,}.",
            hint=again,
        )
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape).copy())


def _download(name: str, data_dir: Path, folder: Path) -> None:
    """All four files into `folder`. They are moved there when complete, so that no half-written one is ever found there."""
    from torchvision.datasets import MNIST, FashionMNIST

    kind = {"mnist": MNIST, "fashion-mnist": FashionMNIST}[name]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=".download-") as scratch:
            with contextlib.redirect_stdout(sys.stderr):  # where torchvision's progress bars go
                kind(scratch, download=True)
            for file in FILES:
                (Path(scratch) / FOLDERS[name] / "raw" / file).replace(folder / file)
    except (RuntimeError, OSError) as error:
        missing = [f"{file} (or {file}.gz)" for file in FILES if _find(folder, file) is None]
        if isinstance(error, PermissionError) or not folder.is_dir():
            raise DataError(
                f"{folder} cannot be written: {error}.", hint="Choose another folder with --data-dir or $PROBE_DATA."
            ) from None
        raise DataError(
            f"{FOLDERS[name]} is not in {folder} and could not be downloaded.",
            hint=f"Put these files into {folder}: {', '.join(missing)}; they are at {kind.mirrors[-1]}. "
            f"Or name the folder that has {FOLDERS[name]}/raw with --data-dir or $PROBE_DATA.",
        ) from None
