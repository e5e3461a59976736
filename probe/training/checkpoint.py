"""Checkpoints on disk: written whole or not at all, read without running anything that a file says."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from probe.errors import OutputError
from probe.files import atomic_file, write_error


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` whole or not at all (`probe.files`).

    Raises OutputError where the folder cannot be written, DiskFullError where there is no room.
    """
    try:
        with atomic_file(path) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:
        raise write_error("checkpoint", path, error) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state that `save_checkpoint` wrote, its tensors on the CPU. Raises OutputError for a missing or broken file."""
    try:
        with zipfile.ZipFile(
            path
        ) as archive:  # PyTorch does not look at the sums: it would load flipped bits as weights
            broken = archive.testzip()
        state = None if broken is not None else torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise OutputError(f"The checkpoint {path} is gone.") from None
    except Exception as error:  # a broken file makes readers of zip archives and pickles raise anything
        text = str(error).strip().partition("\n")[0]
        raise OutputError(f"The checkpoint {path} cannot be read: {text or type(error).__name__}.") from error
    if not isinstance(state, dict):
        raise OutputError(f"The checkpoint {path} is damaged.")
    return state
