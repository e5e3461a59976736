"""The result of a search, its trials and its live progress."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from probe.batch.records import BatchResult
from probe.lr.records import LrResult
from probe.recipe.when import Condition
from probe.records import SCHEMA_VERSION, RunMeta
from probe.search.records.cluster import ClusterUse, SlotUse
from probe.search.records.measurements import Measurements
from probe.training.records import Diagnosis, EpochReport, WeightCounts

MIN_COMPARED_TRIALS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """How much a hyperparameter matters."""

    share: float
    """Fraction of the variation of the ranks, among the trials that have the hyperparameter, that it explains."""
    num_trials: int
    """Number of compared trials that have the hyperparameter."""
    num_compared: int

    @property
    def is_partial(self) -> bool:
        """Whether some of the compared trials do not have the hyperparameter."""
        return self.num_trials < self.num_compared


DATABASE_FILE = "search.sqlite"
ParamValue = bool | int | float | str
Status = Literal[
    "complete", "stopped", "undefined", "oom", "host_oom", "diverged", "infeasible", "timeout", "crashed", "failed"
]
"""How a trial ended. complete: trained to the top rung, or until nothing improved for the recipe's patience. stopped:
not promoted further. undefined: the objective was NaN or infinite in every epoch. oom: out of memory. host_oom: signal 9
killed its worker twice in one rung. diverged: the loss was not finite. infeasible: it broke a constraint, or the user's
code raised `probe.Infeasible`. timeout: cut off by a time limit. crashed: its workers died. failed: the user's code
raised."""
VALUED: tuple[Status, ...] = ("complete", "stopped", "timeout")
"""Statuses of trials that may have a value; the first two always have one."""
Stage = Literal["load", "batch", "lr", "search", "final"]
SearchStoppedBy = Literal["trials", "epochs", "time", "space", "refined", "failures", "interrupted"]
"""Why a search ended. trials, epochs, time: this limit of the budget was reached. space: every configuration was tried.
refined: gradient steps from the best trial found no improvement. failures: every trial failed. interrupted: Ctrl-C."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """The gradient step that proposed a trial."""

    base: int
    """Number of the trial that the step starts from. Both have the same seed."""
    step: float
    """Largest change of a hyperparameter, as a fraction of its range."""
    gradient: Mapping[str, float]
    """Derivative of the base's validation loss with respect to each refined hyperparameter."""
    epochs: int | float = 0
    """Epochs of the budget spent on the gradient, included in the trial's. 0 if an earlier step had computed it."""
    num_unrolled: int = 0
    """Training steps that were differentiated through, of `num_steps`."""
    num_steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult(Measurements):
    """One configuration and the result of training it."""

    number: int
    params: Mapping[str, ParamValue]
    seed: int
    status: Status
    value: float | None
    """The objective over the reports, reduced as the recipe says; None if the status allows no value."""
    epochs: int | float
    """Epochs of the budget spent on the trial, lost ones included."""
    reports: tuple[EpochReport, ...]
    """Reports of its epochs: means over the folds; if rungs are fractions of the data, those on the largest one."""
    rungs: tuple[int, ...]
    """Completed rungs, in epochs or in thousandths of the training data."""
    message: str | None = None
    gradient_accumulation: int | None = None
    """Micro-batches per batch after whole batches ran out of memory; None if they did not."""
    lost_epochs: int | float = 0
    """Epochs of `epochs` without a report, such as the one in which it diverged or in which its worker died."""
    refinement: Refinement | None = None
    """The gradient step that proposed the trial; None if the sampler did."""

    def __post_init__(self) -> None:
        if (self.value is not None and self.status not in VALUED) or (self.value is None and self.status in VALUED[:2]):
            raise ValueError(f"trial {self.number}: value {self.value} does not go with status {self.status}")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"trial {self.number}: the value must be finite, not {self.value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BestTrial:
    """The trial with the best value."""

    number: int
    params: Mapping[str, ParamValue]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueInterval:
    """The 95 % confidence interval of the best trial's validation value."""

    low: float
    high: float
    rule: Literal["wilson", "folds"]
    """wilson: interval of a proportion of `num_samples` samples. folds: Student's interval of a mean over folds."""
    num_samples: int | None
    """Number of validation samples, summed over the folds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a search has spent. `epochs` includes `probe_epochs`, but not the final training."""

    trials: int
    epochs: float
    probe_epochs: float
    seconds: float
    final_epochs: int = 0
    final_seconds: float = 0.0
    lost_epochs: int | float = 0
    """Epochs lost because the search was killed or stopped within a rung; not included in `epochs`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLimits:
    """The recipe's [budget]; None for a limit that it does not set."""

    trials: int | None = None
    epochs: float | None = None
    time_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTrial:
    """A trial that a worker is training now."""

    number: int
    params: Mapping[str, ParamValue]
    epoch: int
    epochs_to: int
    """Epoch at which the current rung ends."""
    place: str | None = None
    """Device or node that the trial runs on, like `cuda:1`; None if there is only one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchProgress:
    """Progress of a running search for a live view; not part of a result."""

    kind: Literal["search_progress"] = "search_progress"
    stage: Stage
    spent: Spent
    limits: BudgetLimits
    running: tuple[RunningTrial, ...] = ()
    best: BestTrial | None = None
    message: str | None = None
    slots: SlotUse | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineScore:
    """The same metric on the same samples for a prediction that needs no training."""

    name: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The objective's metric on the test split after the final training."""

    metric: str
    value: float
    low: float | None
    """Lower end of the 95 % confidence interval; None, like `high`, if it is not known."""
    high: float | None
    num_samples: int
    baseline: BaselineScore | None = None
    """Score of the task's baseline, if it has one."""
    num_shared: int = 0
    """Test samples that are identical to training or validation samples."""
    earlier_reads: int = 0
    """How often the search had scored the test split before, for winners found with a smaller budget."""

    @property
    def is_untouched(self) -> bool:
        """Whether no test sample influenced any decision before this score."""
        return not self.num_shared and not self.earlier_reads


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalTraining:
    """The winner trained again on train + validation for its best number of epochs."""

    epochs: int
    seed: int
    reports: tuple[EpochReport, ...]
    weights_file: str | None = None
    """Name of the file in the run's folder with the model's state_dict, in safetensors format."""
    weights: WeightCounts | None = None
    """Number of weights, and of those that are zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One searched hyperparameter, with the ends that probes determined."""

    name: str
    kind: Literal["float", "int", "pow2", "choices"]
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[ParamValue, ...] = ()
    when: Mapping[str, Condition] | None = None
    """Conditions on other hyperparameters for this one to exist."""
    per: Mapping[str, tuple[float, ...]] | None = None
    """Optimizer -> (low, high), for a range that depends on the optimizer; `low` and `high` then span all of them."""
    steps: int | None = None
    """Number of values in a grid; None for the default."""
    step: float | None = None
    """Distance of allowed values: `low`, `low + step`, ... up to `high`; None for a continuous range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The result of `probe search`."""

    schema: int = SCHEMA_VERSION
    kind: Literal["search"] = "search"
    meta: RunMeta
    stopped_by: SearchStoppedBy
    name: str
    """Name of the recipe."""
    recipe: str
    """The recipe as it ran, command-line changes included, as TOML."""
    task: str
    metric: str
    mode: Literal["max", "min"]
    sampler: str
    sampler_reason: str | None = None
    """Why this sampler was chosen; None if the recipe names it."""
    scheduler: str
    scheduler_reason: str | None = None
    """Why this scheduler was chosen; None if the recipe names it."""
    rungs: tuple[int, ...]
    """Epochs, or thousandths of the training data, at which trials are ranked; the last is the full training."""
    space: tuple[Dimension, ...]
    constants: Mapping[str, ParamValue]
    limits: BudgetLimits
    spent: Spent
    num_workers: int
    num_resumes: int = 0
    """How often the search was resumed."""
    batch_probe: BatchResult | None
    lr_probes: Mapping[str, LrResult]
    """Optimizer -> its range test; the key is "" if one test serves all optimizers."""
    trials: tuple[TrialResult, ...]
    best: BestTrial | None
    best_interval: ValueInterval | None = None
    """None if the interval cannot be computed from the stored reports."""
    reduce: Literal["best", "last"] = "best"
    """Which epoch of a trial gives its value."""
    importance: Mapping[str, Importance] | None
    """Hyperparameters that matter beyond chance; None with fewer than MIN_COMPARED_TRIALS equally long trials."""
    final: FinalTraining | None
    test: Score | None
    diagnosis: Diagnosis | None = None
    """Diagnosis of the winner's training curves; None without a winner."""
    warnings: tuple[str, ...] = ()
    rung_unit: Literal["epochs", "data"] = "epochs"
    """Unit of `rungs`."""
    rung_costs: tuple[int | float, ...] = ()
    """Cost of training to each rung, in epochs of the budget."""
    num_folds: int = 1
    """Number of folds of k-fold validation; 1 for a hold-out."""
    cluster: ClusterUse | None = None
    """Cluster of the last session; None if it ran on one machine."""
    slots: SlotUse | None = None
    """Use of the slots; None before the first trial."""

    def __post_init__(self) -> None:
        if self.rung_costs and len(self.rung_costs) != len(self.rungs):
            raise ValueError(f"{len(self.rungs)} rungs cannot have {len(self.rung_costs)} costs")
        best = self.best
        if best is not None and best.value not in [one.value for one in self.trials if one.number == best.number]:
            raise ValueError(f"best is trial {best.number}, whose value among the trials is not {best.value}")
