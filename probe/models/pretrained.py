"""Weights of a local file into a named model: fine-tuning. Nothing is downloaded, and no code of a file is run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from probe.errors import DataError, first_line

_LEFT_OUT = ("AuxLogits.", "aux1.", "aux2.")
"""Auxiliary classifiers of GoogLeNet and Inception, which named models are built without."""
_INSIDE = ("state_dict", "model", "model_state_dict")
"""Where training scripts put the weights among other things."""
_MAX_NAMED = 3


def load_weights(model: nn.Module, path: Path, *, head: frozenset[str]) -> None:
    """Copy the file's weights into `model`. Where the file's `head` (names of parameters whose shape depends on the number of
    classes) is of another size, the model keeps its own, fresh one.

    Raises DataError: a file that is missing or unreadable; weights of another model, missing and unexpected names told.
    """
    given = {name: tensor for name, tensor in _read(path, _stamp(path)).items() if not name.startswith(_LEFT_OUT)}
    own = model.state_dict()
    missing = [
        name for name in own if name not in given and name not in head and not name.endswith("num_batches_tracked")
    ]
    unexpected = [name for name in given if name not in own]
    if missing or unexpected:
        told = [
            f"{kind}: {_listed(names)}" for kind, names in (("missing", missing), ("unexpected", unexpected)) if names
        ]
        raise DataError(
            f"{path} holds the weights of another model ({'; '.join(told)}).",
            hint="The names are those of torchvision's model, as torch.save(model.state_dict(), ...) writes them.",
        )
    fitting = {name: tensor for name, tensor in given.items() if tensor.shape == own[name].shape}
    wrong = next((name for name in given if name not in fitting and name not in head), None)
    if wrong is not None:
        raise DataError(
            f"{path} holds {wrong} of shape {tuple(given[wrong].shape)}, and the model's is {tuple(own[wrong].shape)}.",
            hint="The weights are of another variant of the model, or were trained with another image size.",
        )
    model.load_state_dict(fitting, strict=False)


def head_names(one: nn.Module, other: nn.Module) -> frozenset[str]:
    """Parameters whose shape differs between a model for some number of classes and the same one for another number."""
    others = other.state_dict()
    return frozenset(name for name, tensor in one.state_dict().items() if tensor.shape != others[name].shape)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(
            f"The weights file {path} cannot be read: {error.strerror or error}.",
            hint=f"Paths are relative to the working folder, {Path.cwd()}. Without weights, training starts from random ones.",
        ) from None
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=1)
def _read(path: Path, stamp: tuple[int, int]) -> Mapping[str, Tensor]:
    """`stamp` changes with the file, so that a new one is read again."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # readers of foreign files raise whatever their formats' libraries do
        problem = "holds more than weights" if isinstance(error, pickle.UnpicklingError) else "is no weights file"
        raise DataError(
            f"{path} {problem}: {first_line(error)}",
            hint="Save it with torch.save(model.state_dict(), ...), or as safetensors.",
        ) from None
    for name in _INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(item, Tensor) for item in content.values())
    ):
        raise DataError(
            f"{path} holds no state_dict: a {type(content).__name__} and no table of tensors.",
            hint="Save it with torch.save(model.state_dict(), ...), or as safetensors.",
        )
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more
