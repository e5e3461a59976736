"""Named models: every torchvision classifier, the short names people type, and the built-in `mlp` and `cnn`.

torchvision is imported where it is needed only: for the built-in models a worker process starts in two thirds of the time.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from probe.data.pixels import PixelScaling, take_bytes
from probe.data.protocol import DataKind
from probe.errors import TaskError, unknown_name
from probe.models.aliases import ALIASES, full_name
from probe.models.lstm import Lstm
from probe.models.networks import Cnn, Mlp
from probe.models.pretrained import head_names, load_weights
from probe.models.text_networks import TextEmbedding, TextMlp, TextTransformer


class BuiltIn(NamedTuple):
    make: type[nn.Module]
    kinds: tuple[DataKind, ...]
    """What it can be given."""


_BUILT_IN = {
    "cnn": BuiltIn(Cnn, ("images",)),
    "lstm": BuiltIn(Lstm, ("series",)),
    "mlp": BuiltIn(Mlp, ("images", "table", "series")),
    "text-embedding": BuiltIn(TextEmbedding, ("tokens",)),
    "text-mlp": BuiltIn(TextMlp, ("tokens",)),
    "text-transformer": BuiltIn(TextTransformer, ("tokens",)),
}
_GIVEN = {"self", "num_inputs", "input_shape", "num_outputs", "vocabulary_size"}
"""Keywords of the built-in networks that come from the data."""
_KIND_WORDS: dict[DataKind, str] = {
    "images": "images",
    "table": "the rows of a table",
    "tokens": "texts",
    "series": "windows of a series",
}
_DROPOUT_KEYWORDS = {
    "alexnet": "dropout",
    "densenet": "drop_rate",
    "efficientnet": "dropout",
    "googlenet": "dropout",
    "inception": "dropout",
    "mnasnet": "dropout",
    "mobilenet": "dropout",
    "squeezenet": "dropout",
    "swin": "dropout",
    "vgg": "dropout",
    "vit": "dropout",
}
"""torchvision's families with dropout, by how their names begin, and what its probability is called there."""


class GrayToColor(nn.Module):
    """Images with one channel for a model made for three: (N, 1, H, W) is seen as (N, 3, H, W), at no cost in memory."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images.expand(-1, 3, -1, -1))  # type: ignore[no-any-return]  # nn.Module calls are untyped


def model_names() -> tuple[str, ...]:
    """Every name that `resolve_model` takes, sorted."""
    return tuple(sorted({*_torchvision_names(), *ALIASES, *_BUILT_IN}))


def resolve_model(name: str) -> str:
    """The full name of a model: `densenet` -> `densenet121`. Raises TaskError for a name that is not known."""
    full = full_name(name)
    if full not in _BUILT_IN and full not in _torchvision_names():
        message, hint = unknown_name("model", name, model_names())
        raise TaskError(message, hint=hint)
    return full


def model_keywords(name: str) -> tuple[str, ...]:
    """The hyperparameters of a model. Raises TaskError for an unknown name."""
    full = resolve_model(name)
    if full in _BUILT_IN:
        return tuple(key for key in inspect.signature(_BUILT_IN[full].make).parameters if key not in _GIVEN)
    return ("dropout",) if _dropout_keyword(full) else ()


def check_hyperparameters(name: str, params: Mapping[str, Any]) -> None:
    """Raise TaskError for the first of `params` that is not a hyperparameter of the model."""
    known = model_keywords(name)
    for param in params:
        if param not in known:
            message, hint = unknown_name(f"hyperparameter of {name}:", param, known or ("(none)",))
            raise TaskError(message, hint=hint)


def check_kind(name: str, kind: DataKind) -> None:
    """Raise TaskError where the model cannot take such data, naming those that can."""
    full = resolve_model(name)
    kinds: tuple[DataKind, ...] = _BUILT_IN[full].kinds if full in _BUILT_IN else ("images",)
    if kind in kinds:
        return
    able = [other for other, built_in in _BUILT_IN.items() if kind in built_in.kinds]
    more = " and torchvision's, like resnet18" if kind == "images" else ""
    own = " or ".join(_KIND_WORDS[kind] for kind in kinds)
    raise TaskError(
        f"{name} cannot take {_KIND_WORDS[kind]}.",
        hint=f"Models that can: {', '.join(able)}{more}. {name} takes {own}: name such data, with --data or in a recipe.",
    )


def build_model(
    name: str,
    *,
    num_outputs: int,
    input_shape: tuple[int, ...],
    params: Mapping[str, Any],
    vocabulary_size: int | None = None,
    pixels: PixelScaling | None = None,
    weights: Path | None = None,
) -> nn.Module:
    """The model with fresh weights, for samples of `input_shape`: (N, *input_shape) -> (N, num_outputs). `pixels`: images
    come as bytes. `weights`: a file to start from instead, except for the last layer where that is of another size.

    Raises:
        TaskError: an unknown name or hyperparameter, a value out of range, or images that the model cannot take.
        DataError: weights that cannot be read or are another model's.
    """
    model = _fresh_model(name, num_outputs, input_shape, params, vocabulary_size)
    if weights is not None:
        # RegNet computes its widths with tensors when it is built: on the meta device that fails.
        with torch.device("cpu" if full_name(name).startswith("regnet") else "meta"):
            other = _fresh_model(name, num_outputs + 1, input_shape, params, vocabulary_size)
        inner, other = (part.model if isinstance(part, GrayToColor) else part for part in (model, other))
        load_weights(inner, weights, head=head_names(inner, other))
    return model if pixels is None else take_bytes(model, pixels)


def _fresh_model(
    name: str, num_outputs: int, input_shape: tuple[int, ...], params: Mapping[str, Any], vocabulary_size: int | None
) -> nn.Module:
    full = resolve_model(name)
    check_hyperparameters(name, params)
    if full not in _BUILT_IN:
        return _build_torchvision(full, num_outputs, input_shape, params)
    make = _BUILT_IN[full].make
    offered = {
        "num_inputs": math.prod(input_shape),
        "input_shape": input_shape,
        "num_outputs": num_outputs,
        "vocabulary_size": vocabulary_size,
    }
    wanted = inspect.signature(make).parameters
    return make(**{key: value for key, value in offered.items() if key in wanted}, **params)


def check_images(name: str, input_shape: tuple[int, ...]) -> None:
    """Raise TaskError for images (C, H, W) that torchvision's model would fail on later, in words about its inner layers."""
    full = resolve_model(name)
    if full in _BUILT_IN:
        return
    channels, height, width = input_shape
    hint = "Choose the size that images are resized to with --img, or image_size in the recipe's [task]."
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
    elif not full.startswith(
        "swin"
    ):  # pads whatever it is given; its weights' smallest size is what they were made for
        import torchvision.models

        least_height, least_width = torchvision.models.get_model_weights(full).DEFAULT.meta["min_size"]
        if height < least_height or width < least_width:
            rule = f"images of at least {least_height} x {least_width} pixels"
    if rule is not None:
        raise TaskError(f"{full} takes {rule}, not {height} x {width}.", hint=hint)


def _torchvision_names() -> list[str]:
    import torchvision.models

    return torchvision.models.list_models(module=torchvision.models)  # type: ignore[no-any-return]  # untyped package


def _dropout_keyword(full: str) -> str | None:
    return next((keyword for family, keyword in _DROPOUT_KEYWORDS.items() if full.startswith(family)), None)


def _build_torchvision(
    full: str, num_classes: int, input_shape: tuple[int, ...], params: Mapping[str, Any]
) -> nn.Module:
    import torchvision.models

    check_images(full, input_shape)
    channels, height, width = input_shape
    keywords: dict[str, Any] = {"weights": None, "num_classes": num_classes}
    if full.startswith("vit"):
        keywords["image_size"] = height
    elif full.startswith("maxvit"):
        keywords["input_size"] = (height, width)
    elif full in ("googlenet", "inception_v3"):
        # Without auxiliary classifiers the training output is a tensor, like every other model's; with init_weights
        # given there is no warning that its default will change.
        keywords |= {"aux_logits": False, "init_weights": True}
    if "dropout" in params:
        dropout = params["dropout"]
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
            raise TaskError(f"dropout must be a number from 0 to below 1, not {dropout!r}.")
        keywords[_dropout_keyword(full) or "dropout"] = float(dropout)
    model: nn.Module = torchvision.models.get_model(full, **keywords)
    return GrayToColor(model) if channels == 1 else model
