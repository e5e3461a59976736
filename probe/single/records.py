"""Records of the training of one configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from probe.records import SCHEMA_VERSION, MemoryReading, RunMeta
from probe.search.records.search import ParamValue, Score
from probe.training.records import Diagnosis, EpochReport, TrainingSummary, WeightCounts

TrainEnd = Literal["finished", "interrupted", "diverged", "oom"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainStarted:
    """The training that is about to start; sent to observers, not part of a result."""

    kind: Literal["train_started"] = "train_started"
    epochs: int
    num_train: int
    num_val: int | None
    """Validation samples; None if the validation split is trained on."""
    num_test: int | None
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """The result of `probe train`."""

    schema: int = SCHEMA_VERSION
    kind: Literal["train"] = "train"
    meta: RunMeta
    stopped_by: TrainEnd
    """finished: all epochs were trained. Otherwise, reports and weights are those of the last completed epoch."""
    name: str
    """Name of the recipe."""
    recipe: str
    """The recipe as it ran, command-line changes included, as TOML."""
    task: str
    metric: str
    mode: Literal["max", "min"]
    params: Mapping[str, ParamValue]
    """All hyperparameters of the recipe."""
    epochs: int
    """Planned number of epochs; learning-rate schedules span it."""
    all_data: bool
    """True if the validation split was trained on as well, so that there is no validation curve."""
    num_train: int
    num_val: int | None
    num_test: int | None
    reports: tuple[EpochReport, ...]
    best_epoch: int | None
    """Epoch with the best value of the objective on the validation split; None without one."""
    best_value: float | None
    last_value: float | None
    """Value of the objective after the last epoch, whose weights are kept."""
    test: Score | None
    """Score on the test split; None without one, or if the training did not finish."""
    weights_file: str | None
    """Name of the file of weights in the run's folder, in safetensors format."""
    diagnosis: Diagnosis | None
    """Diagnosis of the training curves; None if no epoch was completed."""
    memory: MemoryReading | None
    seconds: float
    warnings: tuple[str, ...] = ()
    summary: TrainingSummary | None = None
    """Scores after the last epoch; None if the training did not finish or there is no validation split."""
    weights: WeightCounts | None = None
    """Number of trained weights, and of those that are zero; None if the training did not finish."""

    def __post_init__(self) -> None:
        if self.stopped_by == "finished" and len(self.reports) != self.epochs:
            raise ValueError(f"a finished training of {self.epochs} epochs has {len(self.reports)} reports")
        if self.test is not None and self.stopped_by != "finished":
            raise ValueError("the test split is scored after a finished training only")
        if (self.best_epoch is None) != (self.best_value is None):
            raise ValueError("best_epoch and best_value must both be given or both be None")
