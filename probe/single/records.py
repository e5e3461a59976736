"""What training one configuration leaves behind."""

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
    """What is about to be trained; for a live view, no part of a result."""

    kind: Literal["train_started"] = "train_started"
    epochs: int
    num_train: int
    num_val: int | None
    """None: the validation part is trained on, too."""
    num_test: int | None
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """The answer of `probe train`."""

    schema: int = SCHEMA_VERSION
    kind: Literal["train"] = "train"
    meta: RunMeta
    stopped_by: TrainEnd
    """finished: all epochs were trained. Otherwise the reports and the weights are those of the last whole epoch."""
    name: str
    """The recipe's."""
    recipe: str
    """The recipe as it ran, command-line changes included, as TOML."""
    task: str
    metric: str
    mode: Literal["max", "min"]
    params: Mapping[str, ParamValue]
    """All hyperparameters that the recipe gives."""
    epochs: int
    """Planned: what schedules are stretched over."""
    all_data: bool
    """Trained on train + validation, so that there is no validation curve."""
    num_train: int
    num_val: int | None
    num_test: int | None
    reports: tuple[EpochReport, ...]
    best_epoch: int | None
    """By the objective on the validation part; None without one."""
    best_value: float | None
    last_value: float | None
    """After the last epoch, whose weights are kept."""
    test: Score | None
    """None where there is no test part, or the training did not come to its end."""
    weights_file: str | None
    """In the run's folder, as safetensors."""
    diagnosis: Diagnosis | None
    """What the curves say; None where there are none."""
    memory: MemoryReading | None
    seconds: float
    warnings: tuple[str, ...] = ()
    summary: TrainingSummary | None = None
    """After the last epoch; None where the training did not come to its end, or has no validation part."""
    weights: WeightCounts | None = None
    """How many of the trained weights are zero; None where the training did not come to its end."""

    def __post_init__(self) -> None:
        if self.stopped_by == "finished" and len(self.reports) != self.epochs:
            raise ValueError(f"a finished training of {self.epochs} epochs has {len(self.reports)} reports")
        if self.test is not None and self.stopped_by != "finished":
            raise ValueError("the test part is scored after a finished training only")
        if (self.best_epoch is None) != (self.best_value is None):
            raise ValueError("the best epoch and its value belong together")
