"""Results of LR probes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from probe.records import SCHEMA_VERSION, Precision, RunMeta

CurveEnd = Literal["finished", "diverged", "non_finite", "raised", "interrupted"]
StoppedBy = Literal["finished", "interrupted"]
Depth = Literal["range_test", "short", "full"]
"""Basis of a suggestion: range tests alone, or also short or long runs at constant learning rates."""
MeasuredOn = Literal["validation", "held_out"]
Axis = Literal["optimizer", "batch_size"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LrPoint:
    """One step of a range test: its learning rate and the training loss of its batch before the update."""

    step: int
    lr: float
    loss: float
    smoothed_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """An error of the task's code at a learning rate."""

    lr: float
    error: str
    """Type and first line of the exception: `ValueError: outputs are not finite`."""
    hint: str | None = None
    """What to do about it, if there is more to say."""
    was_checked: bool = False
    """Whether the same steps at the lowest learning rate raised no error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LrCurve:
    """One range test. All losses are finite; `ended_by` says why it is shorter than planned."""

    seed: int
    points: tuple[LrPoint, ...]
    ended_by: CurveEnd
    raised: Raised | None = None
    """The error that ended it; None for any other end."""
    num_extra_steps: int = 0
    """Number of steps made after the end of the curve: before it was detected, or to find the cause of an error."""

    def __post_init__(self) -> None:
        if any(before.lr >= after.lr for before, after in pairwise(self.points)):
            raise ValueError("the learning rates of a range test must increase with every step")

    @property
    def num_steps(self) -> int:
        """Number of training steps made."""
        return len(self.points) + self.num_extra_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class LrProgress:
    """Progress of a probe, sent to its observer."""

    step: int
    """Number of steps made in the current range test or run."""
    num_steps: int
    lr: float
    loss: float
    phase: str = "range test"
    """Name of the current range test or run."""
    is_range_test: bool = True
    losses: tuple[float, ...] = ()
    """Losses of the range test's steps since the last report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossAt:
    """Loss on unseen data after a number of steps."""

    step: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmRun:
    """A run from new weights at a constant learning rate. It ends early if a loss is not finite or the task's code raises."""

    lr: float
    num_steps: int
    """Number of steps made."""
    evaluations: tuple[LossAt, ...]
    """Finite losses in increasing order of steps."""
    finished: bool
    raised: Raised | None = None
    """The error that ended it, if any."""
    expected_loss: float | None = None
    """Estimated loss at the end of the planned training, or None if the run was not finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """Runs at constant learning rates around the range test's suggestion."""

    measured_on: MeasuredOn
    """The task's validation split, or one held out of the training data."""
    num_samples: int
    """Number of samples in each evaluation."""
    initial_loss: float
    """Loss of the untrained model on these samples."""
    planned_steps: int
    """Steps of each run."""
    runs: tuple[ConfirmRun, ...]
    """Runs in increasing order of their learning rates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LrSuggestion:
    """A learning rate, and the range that should give up at most 5 % of the achievable loss reduction."""

    lr: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.lr <= self.high:
            raise ValueError(f"expected 0 < low <= lr <= high, got {self.low}, {self.lr}, {self.high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinderPicks:
    """Learning rates that other LR finders pick from the same smoothed curve."""

    steepest: float | None
    """Learning rate at which the loss falls fastest per ln(lr)."""
    minimum_tenth: float | None
    """One tenth of the learning rate with the lowest loss."""
    valley: float | None
    """Middle of the longest valley."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LrResult:
    """Result of `probe lr`: a suggestion within the tested range, or None with `warnings` that say why."""

    schema: int = SCHEMA_VERSION
    kind: Literal["lr"] = "lr"
    meta: RunMeta
    stopped_by: StoppedBy
    task: str
    optimizer: str
    precision: Precision
    batch_size: int
    lr_schedule: str = "constant"
    """Schedule of the planned training; the suggestion is its peak learning rate."""
    training_steps: int | None = None
    """Length of the planned training in steps."""
    training_steps_assumed: bool = False
    """True if the length was not given."""
    passes: float = 0.0
    """Passes of that training over its data, times the mean factor of its schedule; 0 for unbounded data."""
    depth: Depth = "range_test"
    lowest_lr: float
    highest_lr: float
    ramp_steps: int = 0
    """Planned steps of each range test."""
    num_steps: int
    """Number of training steps made in range tests and runs."""
    suggestion: LrSuggestion | None
    other_finders: FinderPicks | None = None
    warnings: tuple[str, ...]
    curves: tuple[LrCurve, ...]
    confirmation: Confirmation | None = None
    seconds: float

    def __post_init__(self) -> None:
        found = self.suggestion
        if found is not None and not (self.lowest_lr <= found.low and found.high <= self.highest_lr):
            raise ValueError(f"suggestion {found} is outside the tested range {self.lowest_lr} to {self.highest_lr}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LrComparison:
    """Results of `probe lr` for several optimizers or batch sizes."""

    schema: int = SCHEMA_VERSION
    kind: Literal["lr_comparison"] = "lr_comparison"
    meta: RunMeta
    stopped_by: Literal["finished", "interrupted", "error"]
    task: str
    axis: Axis
    """Setting that differs between the results."""
    results: tuple[LrResult, ...]
    seconds: float
