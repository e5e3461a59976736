"""Fields of a task with a named model and data set. Without PyTorch, and without the code that builds the task."""

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
    """Height and width of images, or None for the size of the data (224 for synthetic images)."""
    weights: Path | None = None
    """File of weights to start from."""
    data_options: DataOptions = NO_OPTIONS
    val_fraction: float = 0.0
    """Fraction of the training split that will become the validation split. Data in time order are scaled without it."""
    num_train: int | None = None
    """Number of training samples to use, including the validation split, or None for all."""
    subset_seed: int = 0
    """Seed of their choice."""
    seed: int = 0

    @property
    def title(self) -> str:
        size = f" at {self.image_size} x {self.image_size}" if self.image_size else ""
        few = f", {self.num_train} training samples" if self.num_train else ""
        return f"{self.model} on {self.data}{size}{few}"
