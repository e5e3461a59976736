"""Options of a data file, the request for a data set, the loaded data, and what a loader module offers. Without PyTorch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import Dataset

    from probe.data.images import PixelScaling
    from probe.task import Baseline

    Split = tuple[Tensor, ...] | Dataset[tuple[Tensor, Tensor]]
    """Inputs and targets, or a map-style data set that creates samples on access. Targets are class numbers (N,) of int64, or
    numbers (N, outputs) of float32."""

DataKind = Literal["images", "table", "tokens", "series"]
"""Inputs of a model: images (N, C, H, W), rows of numbers (N, columns), token ids (N, length), or windows of past steps
(N, steps, columns) with the forecast column first."""
TaskType = Literal["classification", "regression"]
TEST_SEED = 0
"""The test split does not depend on the seed of a search, so that the scores of different searches are comparable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """A recipe's `data_options`: how a data file is read. The recipe checks which kinds of data take which option."""

    target: str | None = None
    """Column to predict, or None for the last one."""
    task_type: TaskType | None = None
    """Kind of prediction, or None to infer it from the values of the target column."""
    ignore: tuple[str, ...] = ()
    """Columns to leave out, like row numbers."""
    categorical: tuple[str, ...] = ()
    """Columns of numbers that name categories, like district codes."""
    test_fraction: float = 0.2
    """Fraction of all samples in the test split; for a series, its end."""
    horizon: int = 1
    """Number of steps ahead that a series is forecast."""


NO_OPTIONS = DataOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRequest:
    """A data set with its options. Hashable: equal requests are loaded once per process."""

    name: str
    """`mnist`, or `csv:houses.csv`."""
    data_dir: Path
    image_size: int | None = None
    """Height and width to resize images to, or None to keep their size."""
    params: tuple[tuple[str, Any], ...] = ()
    """Hyperparameters of the data set, like the window of a series."""
    options: DataOptions = NO_OPTIONS
    val_fraction: float = 0.0
    """Fraction of the training split that will become the validation split. Data in time order are scaled without it."""

    @property
    def path(self) -> Path:
        """The path in `csv:houses.csv`, relative to the working directory."""
        return Path(os.path.expanduser(self.name.partition(":")[2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedData:
    """A loaded data set: its splits, and the properties that a model and a task depend on."""

    train: Split
    val: Split | None = None
    """The data set's own validation split, or None to hold one out of `train` later."""
    test: Split | None
    kind: DataKind = "images"
    task_type: TaskType = "classification"
    num_outputs: int
    """Number of classes, or of predicted numbers per sample."""
    input_shape: tuple[int, ...]
    """Shape of one sample."""
    class_names: tuple[str, ...] | None = None
    pixels: PixelScaling | None = None
    """Scaling that the model applies to images of bytes, or None if images are scaled numbers already."""
    vocabulary_size: int | None = None
    """Number of token ids."""
    time_steps: int | None = None
    """Time steps of the training split of a series: see `probe.Task.time_steps`."""
    metrics: Mapping[str, str | Callable[[Any, Any], Any]] | None = None
    """Metrics in the units of the target, or None for the usual ones of the task type."""
    baseline: Baseline | None = None
    """Prediction without training, to compare a model with."""
    info: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Further information, like the scaling of the target. Not needed by models."""


class DataModule(Protocol):
    """Contents of a module that loads data, like probe/data/files/csv.py."""

    def load(self, request: DataRequest) -> LoadedData:
        """Load the data. `request.image_size` is None unless the registry says that the module makes images of any size. Raises
        DataError if files are missing or have wrong contents, with the row and column of the mistake."""
