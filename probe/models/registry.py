"""All models by name: torchvision's classifiers, short names for them, and the built-in networks.

PyTorch and torchvision are imported only when a model is built: without torchvision a worker process starts in two thirds of
the time, and a recipe is checked at once.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probe.errors import TaskError, check_known
from probe.limits import Rules
from probe.models import hyperparameters
from probe.models.torchvision_names import dropout_keyword, torchvision_names

if TYPE_CHECKING:
    from torch import nn

    from probe.data.images import PixelScaling
    from probe.data.protocol import DataKind

ALIASES = {
    "convnext": "convnext_tiny",
    "densenet": "densenet121",
    "efficientnet": "efficientnet_b0",
    "efficientnet_v2": "efficientnet_v2_s",
    "inception": "inception_v3",
    "maxvit": "maxvit_t",
    "mnasnet": "mnasnet1_0",
    "mobilenet": "mobilenet_v3_large",
    "mobilenet_v3": "mobilenet_v3_large",
    "regnet": "regnet_y_400mf",
    "resnet": "resnet50",
    "resnext": "resnext50_32x4d",
    "shufflenet": "shufflenet_v2_x1_0",
    "squeezenet": "squeezenet1_1",
    "swin": "swin_t",
    "swin_v2": "swin_v2_t",
    "vgg": "vgg16",
    "vit": "vit_b_16",
    "wide_resnet": "wide_resnet50_2",
}
"""Short names of torchvision's models."""


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A built-in network."""

    module: str
    class_name: str
    """A torch.nn.Module. Its keywords are the hyperparameters, and some that come from the data."""
    kinds: tuple[DataKind, ...]
    hyperparameters: Rules

    @property
    def network(self) -> type[nn.Module]:
        network: type[nn.Module] = getattr(importlib.import_module(self.module), self.class_name)
        return network


BUILT_IN = {
    "cnn": BuiltIn("probe.models.networks", "Cnn", ("images",), hyperparameters.CNN),
    "lstm": BuiltIn("probe.models.networks", "Lstm", ("series",), hyperparameters.LSTM),
    "mlp": BuiltIn("probe.models.networks", "Mlp", ("images", "table", "series"), hyperparameters.MLP),
    "text-embedding": BuiltIn(
        "probe.models.text_networks", "TextEmbedding", ("tokens",), hyperparameters.TEXT_EMBEDDING
    ),
    "text-mlp": BuiltIn("probe.models.text_networks", "TextMlp", ("tokens",), hyperparameters.TEXT_MLP),
    "text-transformer": BuiltIn(
        "probe.models.text_networks", "TextTransformer", ("tokens",), hyperparameters.TEXT_TRANSFORMER
    ),
}

_KIND_TEXTS: dict[DataKind, str] = {
    "images": "images",
    "table": "the rows of a table",
    "tokens": "texts",
    "series": "windows of a series",
}


def full_name(name: str) -> str:
    """`DenseNet` -> `densenet121`. Does not check that the model exists."""
    return ALIASES.get(name.lower(), name.lower())


def model_names() -> tuple[str, ...]:
    """All names of models, short names included, sorted."""
    return tuple(sorted({*torchvision_names(), *ALIASES, *BUILT_IN}))


def resolve_model(name: str) -> str:
    """The full name of a model: `densenet` -> `densenet121`. Raises TaskError for an unknown name."""
    full = full_name(name)
    if full not in BUILT_IN and full not in torchvision_names():
        check_known(TaskError, "model", name, model_names())
    return full


def model_rules(name: str) -> Rules:
    """The hyperparameters of a model, and the values that they can have. Raises TaskError for an unknown name."""
    full = resolve_model(name)
    if full in BUILT_IN:
        return BUILT_IN[full].hyperparameters
    return hyperparameters.TORCHVISION if dropout_keyword(full) else {}


def check_hyperparameters(name: str, params: Mapping[str, Any]) -> None:
    """Raise TaskError for the first of `params` that is not a hyperparameter of the model."""
    known = tuple(model_rules(name))
    for param in params:
        check_known(TaskError, f"hyperparameter of {name}:", param, known)


def check_kind(name: str, kind: DataKind) -> None:
    """Raise TaskError, naming models that can, if the model cannot take this kind of data."""
    full = resolve_model(name)
    kinds: tuple[DataKind, ...] = BUILT_IN[full].kinds if full in BUILT_IN else ("images",)
    if kind in kinds:
        return
    able = [other for other, built_in in BUILT_IN.items() if kind in built_in.kinds]
    torchvision = " and torchvision's, like resnet18" if kind == "images" else ""
    own = " or ".join(_KIND_TEXTS[kind] for kind in kinds)
    raise TaskError(
        f"{name} cannot take {_KIND_TEXTS[kind]}.",
        hint=f"Models that can: {', '.join(able)}{torchvision}. {name} takes {own}: choose such data with --data or in a "
        "recipe.",
    )


def check_images(name: str, input_shape: tuple[int, ...]) -> None:
    """Raise TaskError if a model of torchvision cannot take images (C, H, W) of this shape."""
    full = resolve_model(name)
    if full not in BUILT_IN:
        from probe.models.torchvision_models import check_shape

        check_shape(full, input_shape)


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
    """Build a model with fresh weights: (N, *input_shape) -> (N, num_outputs). With a file of `weights`, the last layer stays
    fresh if its size differs; `pixels` scales images of bytes. Raises TaskError and DataError."""
    model = _fresh_model(name, num_outputs, input_shape, params, vocabulary_size)
    if weights is not None:
        import torch

        from probe.models.pretrained import head_names, load_weights
        from probe.models.torchvision_models import GrayToColor

        # RegNet computes its widths with tensors, which fails on the meta device.
        with torch.device("cpu" if full_name(name).startswith("regnet") else "meta"):
            other = _fresh_model(name, num_outputs + 1, input_shape, params, vocabulary_size)
        inner, other = (each.model if isinstance(each, GrayToColor) else each for each in (model, other))
        load_weights(inner, weights, head=head_names(inner, other))
    if pixels is None:
        return model
    from probe.data.images import take_bytes

    return take_bytes(model, pixels)


def _fresh_model(
    name: str, num_outputs: int, input_shape: tuple[int, ...], params: Mapping[str, Any], vocabulary_size: int | None
) -> nn.Module:
    full = resolve_model(name)
    check_hyperparameters(name, params)
    if full not in BUILT_IN:
        from probe.models.torchvision_models import build_torchvision

        return build_torchvision(full, num_outputs, input_shape, params)
    network = BUILT_IN[full].network
    from_data = {
        "num_inputs": math.prod(input_shape),
        "input_shape": input_shape,
        "num_outputs": num_outputs,
        "vocabulary_size": vocabulary_size,
    }
    accepted = inspect.signature(network).parameters
    return network(**{key: value for key, value in from_data.items() if key in accepted}, **params)
