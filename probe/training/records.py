"""What one training run reports, and what its curves say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

DiagnosisKind = Literal[
    "too_few_epochs", "unstable", "underfitting", "overfitting", "still_improving", "plateau", "healthy"
]
Confidence = Literal["high", "moderate", "low"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """One epoch of one training run. All numbers are finite: a loss that is not ends the run as diverged, a metric that is not
    has no value in this epoch."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    val_loss: float | None
    metrics: Mapping[str, float]
    """On the validation set."""
    seconds: float
    train_metrics: Mapping[str, float] = field(default_factory=dict)
    """Those that are means over samples, on the training batches as they were trained on: with dropout and augmentation."""
    step_seconds: float | None = None
    """Mean time of a training step, the first one left out; None where nobody asked."""
    metric_spread: Mapping[str, float] | None = None
    """In k-fold validation, where all numbers are means over the folds: the standard deviation between them of each metric and
    of `loss`, the validation loss. None otherwise."""
    undefined: tuple[str, ...] = ()
    """Metrics that are NaN or infinite on the validation set in this epoch: they are not in `metrics`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitScore:
    """A model on one part of the data, evaluated: no dropout, no augmentation."""

    loss: float
    metrics: Mapping[str, float]
    num_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightCounts:
    """How many weights do next to nothing. Biases, norms and scalars are not counted: no penalty is on them."""

    num_weights: int
    num_zero: int
    """Exactly zero."""
    num_near_zero: int
    """Zero included: smaller than a hundredth of the largest weight of their own matrix or kernel."""

    def __post_init__(self) -> None:
        if not 0 <= self.num_zero <= self.num_near_zero <= self.num_weights:
            raise ValueError(f"{self.num_zero} zeros, {self.num_near_zero} near zero of {self.num_weights} cannot be")

    @property
    def zero_fraction(self) -> float:
        return self.num_zero / self.num_weights if self.num_weights else 0.0

    @property
    def near_zero_fraction(self) -> float:
        return self.num_near_zero / self.num_weights if self.num_weights else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSummary:
    """A model after its last epoch, on what it was trained on and on what it was not. In k-fold validation means over the
    folds, and counts over all of their models."""

    epoch: int
    train: SplitScore
    """On as many training samples as the validation part has, all of them where it has more."""
    val: SplitScore
    weights: WeightCounts

    def __post_init__(self) -> None:
        if self.train.metrics.keys() != self.val.metrics.keys():
            raise ValueError("both parts are scored by the same metrics")


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveEvidence:
    """The numbers that a diagnosis rests on. Levels are means over a few epochs, shares are without unit."""

    num_epochs: int
    recent_epochs: int
    """Length of the last part, over which `recent_change` is taken."""
    start_loss: float
    """Before anything was learned, or the larger loss of the first epoch."""
    start_is_untrained: bool
    """`start_loss` was measured on an untrained model."""
    train_loss: float
    """At the end."""
    val_loss: float | None
    """At the end; None, as whatever else needs it, without a validation loss in every epoch."""
    best_val_loss: float | None
    best_epoch: int | None
    """The epoch around which the validation loss was lowest."""
    rise: float | None
    """From the lowest to the last validation loss, as a share of the lowest."""
    train_change_since_best: float | None
    """Of the training loss since then, as a share of the lowest validation loss; negative where it fell."""
    recent_change: float
    """Of the validation loss (the training loss without one) over the last part, as a share of its last level."""
    gap: float | None
    """Validation less training loss at the end, as a share of `start_loss`."""
    swing: float
    """Typical size of the zigzag from epoch to epoch, as a share of the fall since the start: the larger of both curves'."""
    progress: float | None
    """How much of the way from `start_loss` to no loss at all the validation loss (or the training loss) has made; None
    where losses may be negative."""
    train_progress: float | None
    """The same for the training loss."""
    metric_progress: float | None
    """The same for a metric that is a share between 0 and 1, from half wrong to all right."""
    metric_has_worsened: bool | None
    """The objective's metric is worse at the end than at its best by more than its noise; None where it is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What the curves of one training run say, in one word, and what helps."""

    kind: DiagnosisKind
    confidence: Confidence
    remedies: tuple[str, ...]
    """One sentence each, what helps most often first."""
    evidence: CurveEvidence | None
    """None where there were too few epochs to work any number out."""

    def __post_init__(self) -> None:
        if (self.evidence is None) != (self.kind == "too_few_epochs"):
            raise ValueError(f"evidence belongs to every kind but too_few_epochs, this one is {self.kind}")
