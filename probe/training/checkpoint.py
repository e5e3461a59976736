"""Checkpoints on disk: written whole or not at all, read without running anything that a file says."""

from __future__ import annotations

import os
import socket
import zipfile
from pathlib import Path
from typing import Any

import torch

from probe.errors import OutputError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` under a temporary name, sync it, rename it: a reader sees the old file or the new one, never half.

    Raises OutputError where the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"The checkpoint {path} could not be written: {error}", hint="Is the disk full?") from error


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
