"""What a data set is once it is loaded, and what is asked of whoever loads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol

from torch import Tensor
from torch.utils.data import Dataset

from probe.data.options import NO_OPTIONS, DataOptions
from probe.data.pixels import PixelScaling
from probe.task import Baseline

DataKind = Literal["images", "table", "tokens", "series"]
"""What a model is given: images (N, C, H, W); rows of numbers (N, columns); token numbers (N, length); windows of past
steps (N, steps, columns), the column that is forecast first."""
TaskType = Literal["classification", "regression"]
Part = tuple[Tensor, ...] | Dataset[tuple[Tensor, Tensor]]
"""Inputs and targets, or a map-style data set that makes them when asked for. Targets are class numbers (N,) of int64, or
numbers (N, outputs) of float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRequest:
    """One data set as it is wanted. Hashable: equal requests are loaded once per process."""

    name: str
    """`mnist`, or `csv:houses.csv`."""
    data_dir: Path
    """Where named data sets keep their files."""
    image_size: int | None = None
    params: tuple[tuple[str, Any], ...] = ()
    """Hyperparameters of the data set itself, like a series' window."""
    options: DataOptions = NO_OPTIONS
    val_fraction: float = 0.0
    """Of the training part, what is going to be its validation part where it is in time order: scaling must not see it."""

    @property
    def path(self) -> Path:
        """Of `csv:houses.csv`: houses.csv, looked for in the working folder."""
        return Path(self.name.partition(":")[2]).expanduser()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedData:
    """A data set for a task: its parts, and what a model must know of their shape."""

    train: Part
    val: Part | None = None
    """The data set's own; None: held out of `train` later."""
    test: Part | None
    kind: DataKind = "images"
    task_type: TaskType = "classification"
    num_outputs: int
    """Classes, or numbers predicted for each sample."""
    input_shape: tuple[int, ...]
    """Of one sample."""
    class_names: tuple[str, ...] | None = None
    pixels: PixelScaling | None = None
    """Images are bytes, which the model scales; None: they are numbers already."""
    vocabulary_size: int | None = None
    """Of tokens: their numbers lie below it."""
    time_steps: int | None = None
    """Of a series, in its training part: see `probe.Task.time_steps`."""
    metrics: Mapping[str, str | Callable[[Any, Any], Any]] | None = None
    """None: what is usual for the objective. Others, where errors are wanted in the target's own units."""
    baseline: Baseline | None = None
    """What costs no training, to be compared with."""
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Anything else worth knowing, like a scaling; never what a model needs."""


class DataModule(Protocol):
    """A module that loads one kind of data: `data/files/csv.py` and its like."""

    KEYWORDS: tuple[str, ...]
    """Hyperparameters of the data set itself."""

    def load(self, request: DataRequest) -> LoadedData:
        """Raises DataError: files that are missing or that hold something else, named with row and column."""
