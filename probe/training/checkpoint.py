"""Checkpoints on disk, written atomically and loaded without executing pickled code."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from probe.errors import OutputError, first_line
from probe.files import atomic_file, write_error


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
