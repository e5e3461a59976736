"""The weights of a trained model as a safetensors file, written atomically."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from probe.files import atomic_path, write_error

WEIGHTS_FILE = "weights.safetensors"


def save_weights(model: nn.Module, path: Path) -> tuple[str, ...]:
    """Write the tensors of `model`'s state_dict to `path`, for `safetensors.torch.load_model`.

    Tied weights are written once and tied again when loaded.

    Returns:
        Names of state_dict entries that are not tensors (see `get_extra_state`), which safetensors cannot store.

    Raises:
        OutputError: the file cannot be written, or tensors overlap in a way that the format does not support.
    """
    left_out = tuple(name for name, value in model.state_dict().items() if not isinstance(value, Tensor))
    try:
        with atomic_path(path) as temporary:
            safetensors.torch.save_model(_TensorsOnly(model) if left_out else model, str(temporary))  # type: ignore[arg-type]
    except (OSError, RuntimeError, ValueError, safetensors.SafetensorError) as error:
        raise write_error("file of weights", path, error) from error
    return left_out


def left_out_warning(file: str, names: Sequence[str]) -> str | None:
    """A warning about the names that `save_weights` returned; None if there are none."""
    if not names:
        return None
    return (
        f"{file} contains tensors only, so these entries of the model's state are missing: {', '.join(names)}. "
        f'Load it with model.load_state_dict(safetensors.torch.load_file("{file}"), strict=False).'
    )


def copied_weights(model: nn.Module) -> dict[str, Any]:
    """A copy of the model's state_dict on the CPU, for `load_state_dict`."""
    state: Mapping[str, Any] = model.state_dict()
    return {
        name: value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value
        for name, value in state.items()
    }


class _TensorsOnly:
    """Stands in for a model in safetensors' `save_model`, without the entries that are not tensors."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {name: value for name, value in self._model.state_dict().items() if isinstance(value, Tensor)}
