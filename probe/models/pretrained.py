"""Loads the weights of a local file into a named model, for fine-tuning. Downloads nothing and runs no code of the file."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from probe.errors import DataError, first_line
from probe.files import open_file, reason, relative_hint

_IGNORED = ("AuxLogits.", "aux1.", "aux2.")
"""Prefixes of the auxiliary classifiers of GoogLeNet and Inception, which named models do not have."""
_NESTED = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts save the weights next to other things."""
_MAX_NAMED = 3


def load_weights(model: nn.Module, path: Path, *, head: frozenset[str]) -> None:
    """Copy the weights of a file of torch.save or safetensors into `model`. The parameters `head` depend on the number of
    classes: if their shape differs, the model keeps its own fresh ones. Raises DataError."""
    given = {name: tensor for name, tensor in _read(path, _stamp(path)).items() if not name.startswith(_IGNORED)}
    own = model.state_dict()
    missing = [
        name for name in own if name not in given and name not in head and not name.endswith("num_batches_tracked")
    ]
    unexpected = [name for name in given if name not in own]
    if missing or unexpected:
        problems = [
            f"{kind}: {_listed(names)}" for kind, names in (("missing", missing), ("unexpected", unexpected)) if names
        ]
        raise DataError(
            f"{path} has the weights of another model ({'; '.join(problems)}).",
            hint="Parameter names must be those of torchvision's model, as saved by torch.save(model.state_dict(), ...).",
        )
    fitting = {name: tensor for name, tensor in given.items() if tensor.shape == own[name].shape}
    wrong = next((name for name in given if name not in fitting and name not in head), None)
    if wrong is not None:
        raise DataError(
            f"{path} has {wrong} of shape {tuple(given[wrong].shape)}, but the model needs {tuple(own[wrong].shape)}.",
            hint="The weights belong to another variant of the model, or were trained with another image size.",
        )
    model.load_state_dict(fitting, strict=False)


def head_names(one: nn.Module, other: nn.Module) -> frozenset[str]:
    """Names of the parameters whose shape differs between two models that differ in their number of classes."""
    others = other.state_dict()
    return frozenset(name for name, tensor in one.state_dict().items() if tensor.shape != others[name].shape)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        with open_file(path) as file:
            status = os.fstat(file.fileno())
    except OSError as error:
        raise DataError(
            f"The weights file {path} cannot be read: {reason(error)}.",
            hint=f"{relative_hint()} Remove weights to start from random ones.",
        ) from None
    if status.st_size == 0:
        raise DataError(f"The weights file {path} is empty.", hint="It may be incomplete: copy or save it again.")
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=1)
def _read(path: Path, stamp: tuple[int, int]) -> Mapping[str, Tensor]:
    """The state_dict of a file. `stamp` changes with the file, so that an edited file is read again."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the libraries that read these formats raise errors of any kind
        problem = "has more than weights" if isinstance(error, pickle.UnpicklingError) else "is not a weights file"
        raise DataError(
            f"{path} {problem}: {first_line(error)}",
            hint="Save it with torch.save(model.state_dict(), ...), or as safetensors.",
        ) from None
    for name in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(item, Tensor) for item in content.values())
    ):
        raise DataError(
            f"{path} has no state_dict, but a {type(content).__name__} that is not a mapping of names to tensors.",
            hint="Save it with torch.save(model.state_dict(), ...), or as safetensors.",
        )
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more
