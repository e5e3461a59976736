"""What a search leaves behind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from probe.batch.records import BatchResult
from probe.lr.records import LrResult
from probe.recipe.when import Condition
from probe.records import SCHEMA_VERSION, MemoryReading, RunMeta
from probe.search.records.cluster import ClusterUse, SlotUse
from probe.search.records.importance import Importance
from probe.training.records import Diagnosis, EpochReport, TrainingSummary, WeightCounts

DATABASE_FILE = "search.sqlite"
"""Of a run's folder."""
ParamValue = bool | int | float | str
Status = Literal["complete", "stopped", "undefined", "oom", "diverged", "infeasible", "timeout", "crashed", "failed"]
"""complete: trained as far as the ladder goes, or until nothing improved for as long as the recipe's patience. stopped: never
promoted further. undefined: the objective's metric was NaN or infinite in every epoch. timeout: cut off by a time limit; its
value is that of the epochs before, if there are any. infeasible: it broke one of the recipe's constraints, or the user's code
raised `probe.Infeasible`. The rest, too: why it has no value."""
VALUED: tuple[Status, ...] = ("complete", "stopped", "timeout")
"""Statuses that can come with a value; the first two always do."""
Stage = Literal["load", "batch", "lr", "search", "final"]
StoppedBy = Literal["trials", "epochs", "time", "space", "refined", "failures", "interrupted"]
"""space: nothing is left to try. refined: gradient steps from the best trial led nowhere further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """How a trial that is a gradient step came about."""

    base: int
    """The trial that the step was made from; its seed is this one's, too."""
    step: float
    """The largest change of a hyperparameter, as a share of its range."""
    gradient: Mapping[str, float]
    """At the base: the derivative of the validation loss with respect to each refined hyperparameter."""
    epochs: int | float = 0
    """Of the budget, that the gradient cost: part of the trial's. 0 where it was known from a step before."""
    num_unrolled: int = 0
    """Training steps that the derivative goes through, of `num_steps`."""
    num_steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """One configuration and how far it came."""

    number: int
    params: Mapping[str, ParamValue]
    seed: int
    status: Status
    value: float | None
    """The objective over the reports, reduced as the recipe says; None where the status allows none."""
    epochs: int | float
    """Epochs of the budget spent on it, lost ones included."""
    reports: tuple[EpochReport, ...]
    """Of the largest share of the data it was trained on, where shares make the rungs; means over the folds in k-fold
    validation."""
    rungs: tuple[int, ...]
    """The rungs whose end it reached: epochs, or thousandths of the training data."""
    seconds: float
    memory: MemoryReading | None = None
    message: str | None = None
    gradient_accumulation: int | None = None
    """Parts that its batches were split into because whole they did not fit; None: as `params` say."""
    lost_epochs: int | float = 0
    """Those of `epochs` that left no report: the one it diverged in, those that a dead worker took with it."""
    refinement: Refinement | None = None
    """Of a trial that is a gradient step; None where the sampler decided on it."""
    fit: TrainingSummary | None = None
    """At the end of the last rung that it finished."""

    def __post_init__(self) -> None:
        if (self.value is not None and self.status not in VALUED) or (self.value is None and self.status in VALUED[:2]):
            raise ValueError(
                f"trial {self.number}: a value belongs to complete and stopped trials, this one is {self.status}"
            )
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"trial {self.number}: the value must be finite, not {self.value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BestTrial:
    number: int
    params: Mapping[str, ParamValue]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueInterval:
    """The 95 % interval of the best trial's validation value."""

    low: float
    high: float
    rule: Literal["wilson", "folds"]
    """wilson: of a share of `num_samples` samples. folds: of a mean over folds, from the standard deviation between them."""
    num_samples: int | None
    """Validation samples that the value was measured on, those of all folds together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Where the budget went; `epochs` includes `probe_epochs`, but not the final fit."""

    trials: int
    epochs: float
    probe_epochs: float
    seconds: float
    final_epochs: int = 0
    final_seconds: float = 0.0
    lost_epochs: int | float = 0
    """Trained, and lost when the search was killed or stopped in the middle of a rung; no part of `epochs`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLimits:
    """The recipe's [budget]; None: no such limit."""

    trials: int | None = None
    epochs: float | None = None
    time_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTrial:
    """A trial that a worker is training now."""

    number: int
    params: Mapping[str, ParamValue]
    epoch: int
    """Epochs done."""
    epochs_to: int
    """The end of its rung."""
    place: str | None = None
    """Where it runs, like `cuda:1`; None where there is one place only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchProgress:
    """For a live view; no part of a result."""

    kind: Literal["search_progress"] = "search_progress"
    stage: Stage
    spent: Spent
    limits: BudgetLimits
    running: tuple[RunningTrial, ...] = ()
    best: BestTrial | None = None
    """Over the trials that finished a rung."""
    message: str | None = None
    """What is being done, where the numbers do not say it."""
    slots: SlotUse | None = None
    """While trials run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineScore:
    """The same metric on the same samples, of a prediction that needs no training."""

    name: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The objective's metric on the test part, after the final fit, with its 95 % interval where one is known."""

    metric: str
    value: float
    low: float | None
    high: float | None
    num_samples: int
    baseline: BaselineScore | None = None
    """What the model is to be compared with, where the task names something."""
    num_shared: int = 0
    """Test samples that are equal to training or validation samples."""
    earlier_reads: int = 0
    """How often the search had scored the test part before, for winners that it found with a smaller budget."""

    @property
    def is_untouched(self) -> bool:
        """No sample of the test part played a role in any decision before this score."""
        return not self.num_shared and not self.earlier_reads


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalTraining:
    """The winner trained anew on train + validation for its best number of epochs."""

    epochs: int
    seed: int
    reports: tuple[EpochReport, ...]
    weights_file: str | None = None
    """In the run's folder, as safetensors: the model's state_dict."""
    weights: WeightCounts | None = None
    """How many of them are zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One searched hyperparameter as it was searched, probed ends filled in."""

    name: str
    kind: Literal["float", "int", "pow2", "choices"]
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[ParamValue, ...] = ()
    when: Mapping[str, Condition] | None = None
    """Conditions on other hyperparameters with which this one exists."""
    per: Mapping[str, tuple[float, ...]] | None = None
    """For a range that depends on the optimizer: optimizer -> (low, high); `low` and `high` then span all of them."""
    steps: int | None = None
    """How many values a grid takes of it; None: the grid's own rule."""
    step: float | None = None
    """Its values are `low`, `low + step`, ... up to `high`; None: any between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The answer of `probe search`."""

    schema: int = SCHEMA_VERSION
    kind: Literal["search"] = "search"
    meta: RunMeta
    stopped_by: StoppedBy
    name: str
    """The recipe's."""
    recipe: str
    """The recipe as it ran, command-line changes included, as TOML."""
    task: str
    metric: str
    mode: Literal["max", "min"]
    sampler: str
    sampler_reason: str | None = None
    """Why that one, where the recipe left it open."""
    scheduler: str
    scheduler_reason: str | None = None
    """Why that one, where the recipe left it open."""
    rungs: tuple[int, ...]
    """Epochs at which the ladder ranks trials, the last one being the full length; or thousandths of the training data."""
    space: tuple[Dimension, ...]
    constants: Mapping[str, ParamValue]
    limits: BudgetLimits
    spent: Spent
    num_workers: int
    num_resumes: int = 0
    """How often the search went on after it was killed or stopped."""
    batch_probe: BatchResult | None
    lr_probes: Mapping[str, LrResult]
    """Optimizer -> its range test; the key is "" where one test serves all."""
    trials: tuple[TrialResult, ...]
    best: BestTrial | None
    best_interval: ValueInterval | None = None
    """None where the samples' own results would be needed to know it."""
    reduce: Literal["best", "last"] = "best"
    """Which of a trial's epochs its value is of."""
    importance: Mapping[str, Importance] | None
    """Of the hyperparameters that stand out above chance. None with fewer than MIN_COMPARED_TRIALS trials that were trained
    equally long."""
    final: FinalTraining | None
    test: Score | None
    diagnosis: Diagnosis | None = None
    """What the winning trial's curves say; None without a winner."""
    warnings: tuple[str, ...] = ()
    rung_unit: Literal["epochs", "data"] = "epochs"
    """What `rungs` count."""
    rung_costs: tuple[int | float, ...] = ()
    """Epochs of the budget that each rung costs; empty where an epoch is an epoch."""
    num_folds: int = 1
    """Of k-fold validation: all reports are means over them."""
    cluster: ClusterUse | None = None
    """Where its last session ran; None: on this machine alone."""
    slots: SlotUse | None = None
    """None before the first trial."""

    def __post_init__(self) -> None:
        if self.rung_costs and len(self.rung_costs) != len(self.rungs):
            raise ValueError(f"{len(self.rungs)} rungs cannot have {len(self.rung_costs)} costs")
        if self.best is None:
            return
        found = [trial for trial in self.trials if trial.number == self.best.number]
        if not found or found[0].value is None or found[0].value != self.best.value:
            raise ValueError(f"best is trial {self.best.number}, which has no such value among the trials")
