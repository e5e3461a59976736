"""torchvision's classifiers: the images that they take, and how they are built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torchvision.models
from torch import Tensor, nn

from probe.errors import TaskError
from probe.limits import check_values
from probe.models.hyperparameters import TORCHVISION
from probe.models.torchvision_names import dropout_keyword


class GrayToColor(nn.Module):
    """Adapts a model for color images to gray ones: (N, 1, H, W) is viewed as (N, 3, H, W), without a copy."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images.expand(-1, 3, -1, -1))  # type: ignore[no-any-return]  # nn.Module calls are untyped


def check_shape(full: str, input_shape: tuple[int, ...]) -> None:
    """Raise TaskError for images (C, H, W) that the model cannot take. torchvision's errors name inner layers instead."""
    channels, height, width = input_shape
    if channels not in (1, 3):
        raise TaskError(f"{full} takes images with 1 or 3 channels, not {channels}.")
    rule = None
    if full.startswith("vit"):
        patch = int(full.rsplit("_", 1)[1])
        if height != width or height % patch:
            rule = f"square images of a multiple of {patch} pixels"
    elif full.startswith("maxvit"):
        if height % 224 or width % 224:
            rule = "images of a multiple of 224 pixels"
    elif not full.startswith("swin"):  # Swin pads images of any size
        least_height, least_width = torchvision.models.get_model_weights(full).DEFAULT.meta["min_size"]
        if height < least_height or width < least_width:
            rule = f"images of at least {least_height} x {least_width} pixels"
    if rule is not None:
        raise TaskError(
            f"{full} takes {rule}, not {height} x {width}.",
            hint="Set the size to which images are resized with --img, or image_size in the recipe's [task].",
        )


def build_torchvision(
    full: str, num_classes: int, input_shape: tuple[int, ...], params: Mapping[str, Any]
) -> nn.Module:
    """Build a model with fresh weights: (N, *input_shape) -> (N, num_classes). Raises TaskError as `check_shape`."""
    check_shape(full, input_shape)
    channels, height, width = input_shape
    keywords: dict[str, Any] = {"weights": None, "num_classes": num_classes}
    if full.startswith("vit"):
        keywords["image_size"] = height
    elif full.startswith("maxvit"):
        keywords["input_size"] = (height, width)
    elif full in ("googlenet", "inception_v3"):
        # Without auxiliary classifiers the training output is one tensor. init_weights silences a warning about its default.
        keywords |= {"aux_logits": False, "init_weights": True}
    if "dropout" in params:
        check_values(TORCHVISION, dropout=params["dropout"])
        keywords[dropout_keyword(full) or "dropout"] = float(params["dropout"])
    model: nn.Module = torchvision.models.get_model(full, **keywords)
    return GrayToColor(model) if channels == 1 else model
