"""Records of one training run: its epochs, its final scores and the diagnosis of its curves."""

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
    """One epoch of one training run. All numbers are finite: a loss that is not ends the run, and a metric that is not is
    omitted."""

    epoch: int
    """Number of the epoch, from 1."""
    train_loss: float
    val_loss: float | None
    metrics: Mapping[str, float]
    """Metrics on the validation split."""
    seconds: float
    train_metrics: Mapping[str, float] = field(default_factory=dict)
    """Metrics that are means over samples, on the training batches: with dropout and augmentation."""
    step_seconds: float | None = None
    """Mean time of a training step without the first one; None if it was not measured."""
    metric_spread: Mapping[str, float] | None = None
    """In k-fold validation, where all numbers are means over folds: the standard deviation over folds of each metric and of
    `loss`, the validation loss. None otherwise."""
    undefined: tuple[str, ...] = ()
    """Metrics that are NaN or infinite on the validation split, which `metrics` omits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitScore:
    """Scores of a model on one split, in evaluation mode: without dropout and augmentation."""

    loss: float
    metrics: Mapping[str, float]
    num_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightCounts:
    """Number of weights that are zero or nearly zero. Biases, norms and scalars, which are not penalized, are not counted."""

    num_weights: int
    num_zero: int
    """Weights that are exactly zero."""
    num_near_zero: int
    """Weights smaller than a hundredth of the largest weight in their matrix or kernel, zeros included."""

    def __post_init__(self) -> None:
        if not 0 <= self.num_zero <= self.num_near_zero <= self.num_weights:
            raise ValueError(
                f"{self.num_zero} zeros and {self.num_near_zero} near zero of {self.num_weights} are inconsistent"
            )

    @property
    def zero_fraction(self) -> float:
        return self.num_zero / self.num_weights if self.num_weights else 0.0

    @property
    def near_zero_fraction(self) -> float:
        return self.num_near_zero / self.num_weights if self.num_weights else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSummary:
    """Scores of a model after its last epoch on training and validation samples. In k-fold validation: mean scores, and counts
    over the models of all folds."""

    epoch: int
    train: SplitScore
    """Scores on as many training samples as the validation split has, or on all if it has more."""
    val: SplitScore
    weights: WeightCounts

    def __post_init__(self) -> None:
        if self.train.metrics.keys() != self.val.metrics.keys():
            raise ValueError("train and val must have the same metrics")


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveEvidence:
    """The numbers that a diagnosis is based on. Losses are means over a few epochs."""

    num_epochs: int
    recent_epochs: int
    """Number of last epochs that `recent_change` covers."""
    start_loss: float
    """Loss before training, or the larger of the two losses of the first epoch."""
    start_is_untrained: bool
    """Whether `start_loss` was measured on the untrained model."""
    train_loss: float
    """Training loss at the end."""
    val_loss: float | None
    """Validation loss at the end. None, like all fields based on it, if an epoch has no validation loss."""
    best_val_loss: float | None
    best_epoch: int | None
    """Epoch around which the validation loss was lowest."""
    rise: float | None
    """Increase of the validation loss since its minimum, as a fraction of the minimum."""
    train_change_since_best: float | None
    """Change of the training loss since that epoch, as a fraction of the lowest validation loss; negative if it fell."""
    recent_change: float
    """Change of the validation loss (or else the training loss) over the last epochs, as a fraction of its final level."""
    gap: float | None
    """Validation loss minus training loss at the end, as a fraction of `start_loss`."""
    swing: float
    """Typical fluctuation between epochs, as a fraction of the decrease since the start; the larger of both curves."""
    progress: float | None
    """Decrease of the validation loss (or else the training loss), as a fraction of `start_loss`; None if losses may be
    negative."""
    train_progress: float | None
    """`progress` of the training loss."""
    metric_progress: float | None
    """Progress of a metric between 0 and 1: 0 if half of the samples are wrong, 1 if all are right."""
    metric_has_worsened: bool | None
    """Whether the metric is worse at the end than at its best by more than noise; None if unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Diagnosis of the training curves of one run."""

    kind: DiagnosisKind
    confidence: Confidence
    remedies: tuple[str, ...]
    """One sentence for each remedy, the most effective first."""
    evidence: CurveEvidence | None
    """None if there are too few epochs."""

    def __post_init__(self) -> None:
        if (self.evidence is None) != (self.kind == "too_few_epochs"):
            raise ValueError(f"evidence must be given unless kind is too_few_epochs, and this one is {self.kind}")
