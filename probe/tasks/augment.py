"""Augmentation of images: random changes on the device, for a whole batch at once.

All random numbers come from PyTorch's generator of the images' device, which checkpoints include, so that a resumed training
sees the same images as an uninterrupted one. Images keep their dtype, also bytes. Nothing waits for a GPU.
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
from probe.limits import check_values
from probe.tasks.options import AUGMENTATION, AUGMENTATIONS, OPTIONS

MAX_SHIFT = 1 / 8
"""Largest shift as a fraction of a side: the usual 4 of 32 pixels (He et al. 2016)."""
MAX_DEGREES = 15.0
MAX_ZOOM = 0.1
CUTOUT_SIDE = 1 / 2
"""Side of the square as a fraction of the image's: 16 of 32 pixels, as in DeVries & Taylor (2017)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAugmentation:
    """Changes every image of a batch (images, ..., targets) at random. Can be used as Task.augment.

    Args:
        name: `shift`, `flip`, `rotate`, `affine` or `cutout`, or several joined by `+`, which are applied in that order.
        strength: factor on the largest change; 1 is usual.

    Raises:
        TaskError: unknown name, or a strength out of range.
    """

    name: str
    strength: float = 1.0

    def __post_init__(self) -> None:
        check_values(OPTIONS, augmentation=self.name, augmentation_strength=self.strength)

    def __call__(self, batch: Any) -> Any:
        images, *others = batch
        if not isinstance(images, Tensor) or images.dim() != 4:
            given = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise TaskError(
                f"augmentation '{self.name}' needs batches of images (samples, channels, height, width), not {given}."
            )
        for part in AUGMENTATION.parts(self.name):
            images = _CHANGES[part](images, self.strength)
        return (images, *others)


def augmentation(augment: str | Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    """The augmentation with this name. A callable is returned as it is; None and `none` give None. Raises TaskError."""
    if not isinstance(augment, str):
        return augment
    return ImageAugmentation(name=augment) if augment != AUGMENTATION.none else None


def shift(images: Tensor, strength: float) -> Tensor:
    """Move each image by up to an eighth of its sides in whole pixels, repeating its border (a padded crop)."""
    number, _, height, width = images.shape
    device = images.device
    rows = _moved(height, _whole_steps(number, height, strength, device))
    columns = _moved(width, _whole_steps(number, width, strength, device))
    everyone = torch.arange(number, device=device)[:, None, None]
    return images[everyone, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def flip(images: Tensor, strength: float) -> Tensor:
    """Mirror each image left to right with probability 0.5; `strength` has no effect. Not for digits or letters."""
    chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(chosen, images.flip(3), images)


def rotate(images: Tensor, strength: float) -> Tensor:
    """Rotate each image by up to 15 degrees in either direction."""
    return _warp(images, angle=_evenly(images, MAX_DEGREES * strength))


def affine(images: Tensor, strength: float) -> Tensor:
    """Rotate each image by up to 15 degrees, move it by up to an eighth of a side, and zoom it by up to 10 %."""
    most = MAX_ZOOM * strength
    moves = torch.stack([_evenly(images, 2 * MAX_SHIFT * strength) for _ in range(2)], dim=1)
    return _warp(images, angle=_evenly(images, MAX_DEGREES * strength), zoom=1 + _evenly(images, most), moves=moves)


def cutout(images: Tensor, strength: float) -> Tensor:
    """Replace a square of half the sides at a random place by the image's mean (DeVries & Taylor 2017). The square may extend
    beyond the border."""
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
    """(N,) integers, uniform from -most to most, where `most` is at least one pixel."""
    most = max(1, round(side * MAX_SHIFT * strength))
    return torch.randint(-most, most + 1, (number,), device=device)


def _moved(side: int, steps: Tensor) -> Tensor:
    """(N, side) source rows (or columns) of each image after a shift by `steps`."""
    return (torch.arange(side, device=steps.device) + steps[:, None]).clamp(0, side - 1)


def _is_cut(number: int, side: int, strength: float, device: torch.device) -> Tensor:
    """(N, side) whether each row (or column) is in the square of its image."""
    length = min(side, max(1, round(side * CUTOUT_SIDE * strength)))
    first = torch.randint(side, (number, 1), device=device) - length // 2
    places = torch.arange(side, device=device)
    return (places >= first) & (places < first + length)


def _evenly(images: Tensor, most: float) -> Tensor:
    """(N,) numbers, uniform from -most to most."""
    return (torch.rand(len(images), device=images.device) * 2 - 1) * most


def _warp(images: Tensor, *, angle: Tensor, zoom: Tensor | None = None, moves: Tensor | None = None) -> Tensor:
    """Transform images with bilinear interpolation in float32, repeating the border.

    Args:
        images: (N, C, H, W).
        angle: (N,) rotations in degrees.
        zoom: (N,) factors.
        moves: (N, 2) shifts in half sides.
    """
    number, _, height, width = images.shape
    radians = angle * (math.pi / 180)
    scale = torch.ones_like(radians) if zoom is None else 1 / zoom
    cos, sin = radians.cos() * scale, radians.sin() * scale
    # Coordinates are in half sides, in which a rotation of an image that is not square would also stretch it.
    matrix = torch.stack([cos, -sin * (height / width), sin * (width / height), cos], dim=1).view(number, 2, 2)
    offset = torch.zeros_like(matrix[:, :, :1]) if moves is None else moves.unsqueeze(2)
    grid = functional.affine_grid(torch.cat([matrix, offset], dim=2), list(images.shape), align_corners=False)
    warped = functional.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return warped.to(images.dtype)
