"""Checkpoints, and weights as safetensors, on disk: written atomically and loaded without executing pickled code."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from probe.errors import OutputError, first_line
from probe.files import atomic_file, atomic_path, write_error


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` atomically. Raises OutputError, or DiskFullError if the disk is full."""
    try:
        with atomic_file(path) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:
        raise write_error("checkpoint", path, error) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a state that `save_checkpoint` wrote, with its tensors on the CPU. Raises OutputError if that fails."""
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not verify checksums
            broken = archive.testzip()
        state = None if broken is not None else torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise OutputError(f"The checkpoint {path} does not exist.") from None
    except Exception as error:  # readers of zip archives and pickles raise any exception for a broken file
        raise OutputError(f"The checkpoint {path} cannot be read: {first_line(error).removesuffix('.')}.") from error
    if not isinstance(state, dict):
        raise OutputError(f"The checkpoint {path} is damaged.")
    return state


WEIGHTS_FILE = "weights.safetensors"


def save_weights(model: nn.Module, path: Path) -> tuple[str, ...]:
    """Write the tensors of `model`'s state_dict to `path`, for `safetensors.torch.load_model`; tied weights are written once.
    Returns the names of entries that are not tensors, which safetensors cannot store. Raises OutputError."""
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
