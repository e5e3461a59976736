"""Random changes of images that keep what they show, made on the device for a whole batch at once.

Everything is drawn from PyTorch's own generator of the images' device, which checkpoints hold, so that a training that goes
on from one sees the images that it would have seen. Images keep their type: bytes stay bytes, where a model scales them
itself. Nothing waits for a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from probe.errors import TaskError
from probe.tasks.options import AUGMENTATIONS, NO_AUGMENTATION, check_option, parse_augmentation

MAX_SHIFT = 1 / 8
"""Of a side, in either direction: the 4 pixels of the 32 that are usual for small photographs (He et al. 2016)."""
MAX_DEGREES = 15.0
MAX_ZOOM = 0.1
CUTOUT_SIDE = 1 / 2
"""Of a side: the 16 of 32 pixels of DeVries & Taylor (2017)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAugmentation:
    """(images, ..., targets) -> the same batch with other images, each changed at random: Task.augment.

    `name` is one of `shift`, `flip`, `rotate`, `affine`, `cutout`, or several joined by `+`, done in that order. `strength`
    multiplies how far each may go: 1 is usual. Raises TaskError for an unknown name or a strength out of range.
    """

    name: str
    strength: float = 1.0

    def __post_init__(self) -> None:
        parse_augmentation(self.name)
        check_option("augmentation_strength", self.strength)

    def __call__(self, batch: Any) -> Any:
        images, *others = batch
        if not isinstance(images, Tensor) or images.dim() != 4:
            what = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise TaskError(
                f"augmentation '{self.name}' is for batches of images of shape (samples, channels, height, width), not {what}."
            )
        for part in parse_augmentation(self.name):
            images = _CHANGES[part](images, self.strength)
        return (images, *others)


def augmentation(augment: str | Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    """The function behind a name; a callable is taken as it is, None and `none` are no augmentation. Raises TaskError."""
    if not isinstance(augment, str):
        return augment
    return ImageAugmentation(name=augment) if augment != NO_AUGMENTATION else None


def shift(images: Tensor, strength: float) -> Tensor:
    """Move each image by up to an eighth of its sides, whole pixels; what comes in repeats its border. A padded crop."""
    number, _, height, width = images.shape
    device = images.device
    rows = _moved(height, _whole_steps(number, height, strength, device))
    columns = _moved(width, _whole_steps(number, width, strength, device))
    everyone = torch.arange(number, device=device)[:, None, None]
    return images[everyone, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def flip(images: Tensor, strength: float) -> Tensor:
    """Mirror every other image, left to right; `strength` means nothing. Not for digits or letters."""
    chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(chosen, images.flip(3), images)


def rotate(images: Tensor, strength: float) -> Tensor:
    """Turn each image by up to 15 degrees either way."""
    return _warp(images, angle=_evenly(images, MAX_DEGREES * strength))


def affine(images: Tensor, strength: float) -> Tensor:
    """Turn by up to 15 degrees, move by up to an eighth of a side, and zoom by up to 10 %, all at once."""
    most = MAX_ZOOM * strength
    moves = torch.stack([_evenly(images, 2 * MAX_SHIFT * strength) for _ in range(2)], dim=1)
    return _warp(images, angle=_evenly(images, MAX_DEGREES * strength), zoom=1 + _evenly(images, most), moves=moves)


def cutout(images: Tensor, strength: float) -> Tensor:
    """Blank a square of half the sides at a random place, which may reach over the border (DeVries & Taylor 2017): its
    pixels get the image's mean."""
    number, _, height, width = images.shape
    rows = _is_cut(number, height, strength, images.device)
    columns = _is_cut(number, width, strength, images.device)
    cut = rows[:, None, :, None] & columns[:, None, None, :]
    means = images.float().mean(dim=(2, 3), keepdim=True)
    return torch.where(cut, means.to(images.dtype), images)


_CHANGES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "shift": shift,
    "flip": flip,
    "rotate": rotate,
    "affine": affine,
    "cutout": cutout,
}
assert tuple(_CHANGES) == AUGMENTATIONS


def _whole_steps(number: int, side: int, strength: float, device: torch.device) -> Tensor:
    """A whole number of pixels for each image, from -most to most, all alike; most is at least one."""
    most = max(1, round(side * MAX_SHIFT * strength))
    return torch.randint(-most, most + 1, (number,), device=device)


def _moved(side: int, steps: Tensor) -> Tensor:
    """For each image the rows (or columns) of the old one that stand where its 0 .. side - 1 are: (N, side)."""
    return (torch.arange(side, device=steps.device) + steps[:, None]).clamp(0, side - 1)


def _is_cut(number: int, side: int, strength: float, device: torch.device) -> Tensor:
    """For each image which rows (or columns) lie in its square: (N, side)."""
    length = min(side, max(1, round(side * CUTOUT_SIDE * strength)))
    first = torch.randint(side, (number, 1), device=device) - length // 2
    places = torch.arange(side, device=device)
    return (places >= first) & (places < first + length)


def _evenly(images: Tensor, most: float) -> Tensor:
    """(N,) numbers from -most to most."""
    return (torch.rand(len(images), device=images.device) * 2 - 1) * most


def _warp(images: Tensor, *, angle: Tensor, zoom: Tensor | None = None, moves: Tensor | None = None) -> Tensor:
    """Bilinear, worked out in float32; what comes in repeats the border. `moves` are in half sides."""
    number, _, height, width = images.shape
    radians = angle * (math.pi / 180)
    scale = torch.ones_like(radians) if zoom is None else 1 / zoom
    cos, sin = radians.cos() * scale, radians.sin() * scale
    # In half sides a turn of an image that is not square also stretches: undone by the sides' ratio.
    matrix = torch.stack([cos, -sin * (height / width), sin * (width / height), cos], dim=1).view(number, 2, 2)
    offset = torch.zeros_like(matrix[:, :, :1]) if moves is None else moves.unsqueeze(2)
    grid = functional.affine_grid(torch.cat([matrix, offset], dim=2), list(images.shape), align_corners=False)
    warped = functional.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return warped.to(images.dtype)
