"""The fields of a task by name. Without PyTorch, and without the code that builds the task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from probe.data.protocol import NO_OPTIONS, DataOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSpec:
    """A named model on a named data set: `--model densenet --img 256`, or a recipe's `model` and `data`."""

    model: str
    data: str = "synthetic"
    data_dir: Path = Path("data")
    image_size: int | None = None
    """Height and width that images are resized to, or made with; None: the data's own, 224 for synthetic ones."""
    weights: Path | None = None
    """A file of weights to start from."""
    data_options: DataOptions = NO_OPTIONS
    val_fraction: float = 0.0
    """Of the training part, what will be its validation part: data in time order are scaled without it."""
    num_train: int | None = None
    """How many training samples are used, validation part included; None: all."""
    subset_seed: int = 0
    """Which ones."""
    seed: int = 0

    @property
    def title(self) -> str:
        size = f" at {self.image_size} x {self.image_size}" if self.image_size else ""
        few = f", {self.num_train} training samples" if self.num_train else ""
        return f"{self.model} on {self.data}{size}{few}"
