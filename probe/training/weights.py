"""A trained model's weights as a file that other programs read: safetensors, written whole or not at all."""

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
    """Write the tensors of `model`'s state_dict to `path`, for `safetensors.torch.load_model` to read.

    A tensor that several names share (tied weights) is written once; loading ties it again. safetensors holds tensors only:
    what else a state_dict has (`get_extra_state`) is left out, and its names are returned.

    Raises OutputError where the file cannot be written, or tensors overlap in a way that the format cannot say.
    """
    left_out = tuple(name for name, value in model.state_dict().items() if not isinstance(value, Tensor))
    try:
        with atomic_path(path) as temporary:
            safetensors.torch.save_model(_TensorsOnly(model) if left_out else model, str(temporary))  # type: ignore[arg-type]
    except (OSError, RuntimeError, ValueError, safetensors.SafetensorError) as error:
        raise write_error("file of weights", path, error) from error
    return left_out


def left_out_warning(file: str, names: Sequence[str]) -> str | None:
    """A sentence about what `save_weights` returned; None where that is nothing."""
    if not names:
        return None
    return (
        f"{file} holds tensors only; of the model's state it leaves out: {', '.join(names)}. "
        f'Load it with model.load_state_dict(safetensors.torch.load_file("{file}"), strict=False).'
    )


def copied_weights(model: nn.Module) -> dict[str, Any]:
    """The model's state as it is now, its tensors copied to the CPU: for `load_state_dict` to go back to."""
    state: Mapping[str, Any] = model.state_dict()
    return {
        name: value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value
        for name, value in state.items()
    }


class _TensorsOnly:
    """A model as safetensors' `save_model` looks at one, without the entries that are no tensors."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {name: value for name, value in self._model.state_dict().items() if isinstance(value, Tensor)}
