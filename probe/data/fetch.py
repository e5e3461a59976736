"""Data sets that `probe data` fetches: where each is kept, how it gets there, and that what is there is whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from probe.data.download import Progress
from probe.errors import DataError, unknown_name


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchableData:
    """A data set that is downloaded once. Making one of these imports nothing that it needs."""

    about: str
    """What it is, in a line."""
    folder: str
    """Inside of the data folder, as are `files`."""
    files: tuple[str, ...]
    """What is there when it is prepared; any of them may stand there as NAME.gz instead."""
    fetch: Callable[[Path, Progress], str]
    """(data folder, progress) -> what was found when it was read through. Downloads what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedData:
    """A data set on disk."""

    name: str
    paths: tuple[Path, ...]
    num_bytes: int
    contents: str
    was_there: bool


def fetch_data(name: str, data_dir: Path, *, progress: Progress) -> FetchedData:
    """Download and prepare `name` in `data_dir`, or read through what is there already.

    Raises:
        DataError: an unknown name, no network, a damaged file, or a folder that cannot be written.
    """
    known = fetchable_data()
    if name not in known:
        message, hint = unknown_name("data set to fetch:", name, tuple(known))
        if name in ("digits", "synthetic"):
            hint = f"Nothing need be fetched for {name}. {hint}"
        raise DataError(message, hint=hint)
    data = known[name]
    was_there = find_files(data, data_dir) is not None
    contents = data.fetch(data_dir, progress)
    paths = find_files(data, data_dir)
    if paths is None:
        raise AssertionError(f"{name} was fetched, and is not in {data_dir / data.folder}")
    num_bytes = sum(path.stat().st_size for path in paths)
    return FetchedData(name=name, paths=paths, num_bytes=num_bytes, contents=contents, was_there=was_there)


def find_files(data: FetchableData, data_dir: Path) -> tuple[Path, ...] | None:
    """The files of a data set in `data_dir`; None where any is missing."""
    folder = data_dir / data.folder
    found = [
        next((path for path in (folder / file, folder / f"{file}.gz") if path.is_file()), None) for file in data.files
    ]
    there = tuple(path for path in found if path is not None)
    return there if len(there) == len(found) else None


def fetchable_data() -> dict[str, FetchableData]:
    """By name, in the order in which they are shown."""
    mnist_files = (
        *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
    )
    return {
        "mnist": FetchableData(
            about="70,000 handwritten digits, 28 x 28 pixels",
            folder="MNIST/raw",
            files=mnist_files,
            fetch=partial(_fetch_mnist, "mnist"),
        ),
        "fashion-mnist": FetchableData(
            about="70,000 pieces of clothing, 28 x 28 pixels",
            folder="FashionMNIST/raw",
            files=mnist_files,
            fetch=partial(_fetch_mnist, "fashion-mnist"),
        ),
        "cifar10": FetchableData(
            about="60,000 color images of ten classes, 32 x 32 pixels",
            folder="cifar-10-batches-bin",
            files=(*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"),
            fetch=_fetch_cifar10,
        ),
        "reuters": FetchableData(
            about="11,228 newswires of 46 topics (Reuters-21578)",
            folder="reuters",
            files=("reuters21578-46.jsonl.gz",),
            fetch=_fetch_reuters,
        ),
    }


def _fetch_mnist(name: str, data_dir: Path, progress: Progress) -> str:
    from probe.data.mnist import read_mnist

    (images, _), (test_images, _) = read_mnist(name, data_dir)  # torchvision checks what it downloads by MD5
    height, width = images.shape[1:]
    return f"{len(images):,} images to train on and {len(test_images):,} to test, {height} x {width} pixels"


def _fetch_cifar10(data_dir: Path, progress: Progress) -> str:
    from probe.data import cifar10
    from probe.data.loaded import DataRequest

    data = cifar10.load(DataRequest(name="cifar10", data_dir=data_dir))  # torchvision checks what it downloads by MD5
    train, test = data.train, data.test
    if not isinstance(train, tuple) or not isinstance(test, tuple):
        raise AssertionError("cifar10 is kept as tensors")
    return f"{len(train[0]):,} images to train on and {len(test[0]):,} to test, 32 x 32 pixels"


def _fetch_reuters(data_dir: Path, progress: Progress) -> str:
    from probe.data.reuters import ensure_reuters, read_prepared

    newswires = read_prepared(ensure_reuters(data_dir, progress=progress))
    return f"{len(newswires):,} newswires of {len({newswire.label for newswire in newswires})} topics"
