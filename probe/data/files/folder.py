"""`folder:PATH`: images in one folder per class, as for torchvision's ImageFolder.

Either PATH/cat/*.jpg, PATH/dog/*.jpg, ..., or PATH/train/cat/*.jpg, ... with optional folders `val` and `test` next to `train`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from probe.data.images import IMAGENET, MAX_RESIZED_BYTES
from probe.data.protocol import TEST_SEED, DataRequest, LoadedData
from probe.errors import DataError
from probe.files import relative_hint
from probe.splits import hold_out_indices
from probe.units import format_count_of

if TYPE_CHECKING:
    from probe.data.protocol import Split

DEFAULT_SIZE = 224
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
SPLITS = ("train", "val", "test")
MIN_MEMBERS = 3
"""Smallest number of images per class if there is no test folder: one for each split."""
_NUM_THREADS = 4
"""Threads that decode images; Pillow releases the GIL."""
_MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class Files:
    """Image files and their class numbers."""

    paths: Sequence[Path]
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: np.ndarray) -> Files:
        return Files([self.paths[index] for index in indices], self.classes[indices])


class ImageFiles(Dataset[tuple[Tensor, Tensor]]):
    """Images that are decoded on access: (3, size, size) of bytes and a class number each."""

    def __init__(self, files: Files, size: int) -> None:
        self.files = files
        self.size = size
        self.targets = torch.from_numpy(files.classes)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return read_image(self.files.paths[index], self.size), self.targets[index]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Called by DataLoader for a whole batch."""
        images = _read_images([self.files.paths[index] for index in indices], self.size)
        return [(image, self.targets[index]) for image, index in zip(images, indices, strict=True)]


def load(request: DataRequest) -> LoadedData:
    """Bytes (N, 3, size, size): each image cropped to a square at its center, in color, and resized; scaled by the model. A
    split is decoded once if it fits into MAX_RESIZED_BYTES, else on access. Raises DataError for unusable folders."""
    size = request.image_size or DEFAULT_SIZE
    root = _check_folder(request.path)
    folders = {split: root / split for split in SPLITS if (root / split).is_dir()}
    if "train" in folders:
        names = tuple(folder.name for folder in _class_folders(folders["train"]))
        files = {split: _list_files(folder, names) for split, folder in folders.items()}
    else:
        names = tuple(folder.name for folder in _class_folders(root))
        files = {"train": _list_files(root, names)}
    if set(files) == {"train"}:
        files = _split(files["train"], names, root, request.options.test_fraction)
    loaded = {split: _read_split(found, size) for split, found in files.items()}
    return LoadedData(
        train=loaded["train"],
        val=loaded.get("val"),
        test=loaded.get("test"),
        num_outputs=len(names),
        input_shape=(3, size, size),
        class_names=names,
        pixels=IMAGENET,
    )


def read_image(path: Path, size: int) -> Tensor:
    """(3, size, size) of bytes: the largest centered square, resized. Raises DataError if the file is not an image."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * size, 2 * size))  # decode much larger JPEGs at a fraction of their size
            upright = ImageOps.exif_transpose(image).convert("RGB")
            square = ImageOps.fit(upright, (size, size), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).replace(f" '{path}'", "").replace(f" {str(path)!r}", "")
        raise DataError(f"{path} is broken or not an image: {reason}.", hint="Replace it, or delete it.") from None
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


def _check_folder(path: Path) -> Path:
    if path.is_dir():
        return path
    if path.exists():
        raise DataError(f"{path} is a file, not a folder of images.")
    raise DataError(f"There is no folder {path}.", hint=relative_hint())


def _class_folders(root: Path) -> list[Path]:
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if len(folders) >= 2:
        return folders
    images = sum(path.suffix.lower() in SUFFIXES for path in root.iterdir())
    found = f"one folder ({folders[0].name})" if folders else "no folders"
    extra = f" and {format_count_of(images, 'image')}" if images else ""
    raise DataError(
        f"{root} has {found}{extra}, but at least two classes are needed, each in its own folder.",
        hint=f"Create folders like {root / 'cat'} and {root / 'dog'}; or train, val and test, each with such folders.",
    )


def _list_files(root: Path, names: Sequence[str]) -> Files:
    """All images below the class folders. Raises DataError if a class folder is empty or its class is not in `names`."""
    present = [folder.name for folder in _class_folders(root)]
    foreign = [name for name in present if name not in names]
    if foreign:
        raise DataError(
            f"{root / foreign[0]} is a class that the training split does not have.",
            hint=f"Classes of the training split: {', '.join(names)}.",
        )
    paths: list[Path] = []
    classes: list[int] = []
    for number, name in enumerate(names):
        if name not in present:
            continue
        found = [
            path for path in sorted((root / name).rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()
        ]
        if not found:
            raise DataError(
                f"{root / name} has no images.",
                hint=f"Images end in {', '.join(SUFFIXES)}. Delete the folder if it is not a class.",
            )
        paths += found
        classes += [number] * len(found)
    return Files(paths, np.array(classes, dtype=np.int64))


def _split(files: Files, names: Sequence[str], root: Path, test_fraction: float) -> dict[str, Files]:
    counts = np.bincount(files.classes)
    if counts.min() < MIN_MEMBERS:
        rarest = int(counts.argmin())
        raise DataError(
            f"{root / names[rarest]} has only {format_count_of(int(counts[rarest]), 'image')}, but the training, validation "
            "and test splits need one each.",
            hint="Add images, or delete the folder.",
        )
    train, test = hold_out_indices(len(files), fraction=test_fraction, seed=TEST_SEED, labels=files.classes)
    return {"train": files.take(train), "test": files.take(test)}


def _read_split(files: Files, size: int) -> Split:
    if len(files) * 3 * size * size > MAX_RESIZED_BYTES:
        return ImageFiles(files, size)
    return torch.stack(_read_images(files.paths, size)), torch.from_numpy(files.classes)


def _read_images(paths: Sequence[Path], size: int) -> list[Tensor]:
    """Decode all images. Raises DataError that names the first broken ones."""

    def read(path: Path) -> Tensor | DataError:
        try:
            return read_image(path, size)
        except DataError as error:
            return error

    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        results = list(pool.map(read, paths))
    images = [result for result in results if isinstance(result, Tensor)]
    broken = [result for result in results if isinstance(result, DataError)]
    if len(broken) == 1:
        raise broken[0]
    if broken:
        lines = "\n".join(f"  {error.message}" for error in broken[:_MAX_NAMED])
        more = f"\n  and {len(broken) - _MAX_NAMED} more" if len(broken) > _MAX_NAMED else ""
        raise DataError(f"{len(broken)} files are not images:\n{lines}{more}", hint="Replace or delete them.")
    return images
