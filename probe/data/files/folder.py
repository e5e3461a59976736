"""`folder:PATH`: images by class folder, as torchvision's ImageFolder expects them.

Either PATH/cat/*.jpg, PATH/dog/*.jpg, ... or PATH/train/cat/*.jpg, ... with `val` and `test` beside `train` if there are any.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from probe.data.images import MAX_RESIZED_BYTES
from probe.data.loaded import DataRequest, LoadedData, Part
from probe.data.pixels import IMAGENET
from probe.errors import DataError
from probe.splits import hold_out_indices

KEYWORDS: tuple[str, ...] = ()
DEFAULT_SIZE = 224
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
PARTS = ("train", "val", "test")
TEST_SEED = 0
"""The test part is the same whatever the seed of a search: scores of different searches are comparable."""
MIN_MEMBERS = 3
"""Of a class that is divided: one each to train on, to validate on and to test on."""
_NUM_THREADS = 4
"""That decode images: Pillow lets them run side by side."""
_MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class Files:
    """Image files and the class of each."""

    paths: Sequence[Path]
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: np.ndarray) -> Files:
        return Files([self.paths[index] for index in indices], self.classes[indices])


class ImageFiles(Dataset[tuple[Tensor, Tensor]]):
    """Images decoded when asked for: (3, size, size) of bytes and a class number each."""

    def __init__(self, files: Files, size: int) -> None:
        self.files = files
        self.size = size
        self.targets = torch.from_numpy(files.classes)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return read_image(self.files.paths[index], self.size), self.targets[index]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """What a DataLoader calls for a whole batch."""
        images = _read_images([self.files.paths[index] for index in indices], self.size)
        return [(image, self.targets[index]) for image, index in zip(images, indices, strict=True)]


def load(request: DataRequest) -> LoadedData:
    """Bytes (N, 3, size, size): the middle of each image, in color, resized. Decoded once where all of a part fits into
    MAX_RESIZED_BYTES, else whenever they are needed. The model scales them as torchvision's weights expect.

    Raises DataError: no such folder, no class folders, one without images, broken files.
    """
    size = request.image_size or DEFAULT_SIZE
    root = _check_folder(request.path)
    parts = {part: root / part for part in PARTS if (root / part).is_dir()}
    if "train" in parts:
        names = tuple(folder.name for folder in _class_folders(parts["train"]))
        files = {part: _list_files(folder, names) for part, folder in parts.items()}
    else:
        names = tuple(folder.name for folder in _class_folders(root))
        files = {"train": _list_files(root, names)}
    if set(files) == {"train"}:
        files = _split(files["train"], names, root, request.options.test_share)
    loaded = {part: _read_part(found, size) for part, found in files.items()}
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
    """(3, size, size) of bytes: the largest square in the middle, resized. Raises DataError for a file that is no image."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image.draft(
                "RGB", (2 * size, 2 * size)
            )  # a JPEG much larger than that is decoded at a fraction of its size
            upright = ImageOps.exif_transpose(image).convert("RGB")
            square = ImageOps.fit(upright, (size, size), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        said = str(error).replace(f" '{path}'", "").replace(f" {str(path)!r}", "")
        raise DataError(f"{path} is broken or no image: {said}.", hint="Replace it, or delete it.") from None
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


def _check_folder(path: Path) -> Path:
    if path.is_dir():
        return path
    if path.exists():
        raise DataError(f"{path} is a file, not a folder of images.")
    raise DataError(f"There is no folder {path}.", hint=f"Paths are relative to the working folder, {Path.cwd()}.")


def _class_folders(root: Path) -> list[Path]:
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if len(folders) >= 2:
        return folders
    images = sum(path.suffix.lower() in SUFFIXES for path in root.iterdir())
    found = f"one folder ({folders[0].name})" if folders else "no folders"
    beside = f" and {images:,} image{'' if images == 1 else 's'}" if images else ""
    raise DataError(
        f"{root} holds {found}{beside}: at least two classes are needed, each in a folder of its own.",
        hint=f"Like {root / 'cat'} and {root / 'dog'}; or train, val and test, each with such folders.",
    )


def _list_files(root: Path, names: Sequence[str]) -> Files:
    """Of the classes' folders and the folders in them. Raises DataError for an empty one, and for one that is no class."""
    present = [folder.name for folder in _class_folders(root)]
    foreign = [name for name in present if name not in names]
    if foreign:
        raise DataError(
            f"{root / foreign[0]} is a class that the training part does not have.",
            hint=f"Its classes: {', '.join(names)}.",
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
                f"{root / name} holds no images.",
                hint=f"Images end in {', '.join(SUFFIXES)}. Delete the folder if it is no class.",
            )
        paths += found
        classes += [number] * len(found)
    return Files(paths, np.array(classes, dtype=np.int64))


def _split(files: Files, names: Sequence[str], root: Path, test_share: float) -> dict[str, Files]:
    counts = np.bincount(files.classes)
    if counts.min() < MIN_MEMBERS:
        rarest = int(counts.argmin())
        only = f"{counts[rarest]} image{'' if counts[rarest] == 1 else 's'}"
        raise DataError(
            f"{root / names[rarest]} holds {only}; training, validation and test part need one each.",
            hint="Add images, or delete the folder.",
        )
    train, test = hold_out_indices(len(files), fraction=test_share, seed=TEST_SEED, labels=files.classes)
    return {"train": files.take(train), "test": files.take(test)}


def _read_part(files: Files, size: int) -> Part:
    if len(files) * 3 * size * size > MAX_RESIZED_BYTES:
        return ImageFiles(files, size)
    return torch.stack(_read_images(files.paths, size)), torch.from_numpy(files.classes)


def _read_images(paths: Sequence[Path], size: int) -> list[Tensor]:
    """Raises DataError that names the first broken ones, once all have been looked at."""

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
        told = "\n".join(f"  {error.message}" for error in broken[:_MAX_NAMED])
        more = f"\n  and {len(broken) - _MAX_NAMED} more" if len(broken) > _MAX_NAMED else ""
        raise DataError(f"{len(broken)} files are no images:\n{told}{more}", hint="Replace or delete them.")
    return images
