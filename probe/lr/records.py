"""What an LR probe leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from probe.records import SCHEMA_VERSION, Precision, RunMeta

CurveEnd = Literal["finished", "diverged", "non_finite", "interrupted"]
StoppedBy = Literal["finished", "interrupted"]
Depth = Literal["range_test", "short", "full"]
"""What a suggestion rests on: range tests alone, or also runs at constant learning rates, short ones or long ones."""
MeasuredOn = Literal["validation", "held_out"]
Axis = Literal["optimizer", "batch_size"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LrPoint:
    """One training step of a range test: its learning rate and the training loss of its batch, before the update."""

    step: int
    lr: float
    loss: float
    smoothed_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LrCurve:
    """One range test. Every loss in it is finite; `ended_by` says why it is shorter than asked for."""

    seed: int
    points: tuple[LrPoint, ...]
    ended_by: CurveEnd
    num_extra_steps: int = 0
    """Made after the end of the curve, before that was noticed."""

    def __post_init__(self) -> None:
        if any(before.lr >= after.lr for before, after in pairwise(self.points)):
            raise ValueError("the learning rate of a range test must grow with every step")

    @property
    def num_steps(self) -> int:
        """Training steps spent on it."""
        return len(self.points) + self.num_extra_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class LrProgress:
    """How far a probe is: what observers are told while it runs."""

    step: int
    """Steps done, of the range test or the run that is going on."""
    num_steps: int
    lr: float
    loss: float
    part: str = "range test"
    """What is going on, in words."""
    is_range_test: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LossAt:
    """The loss on unseen data after a number of steps."""

    step: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmRun:
    """A training run from fresh weights at one learning rate. It may have ended early, by a loss that was not finite."""

    lr: float
    num_steps: int
    """Made."""
    evaluations: tuple[LossAt, ...]
    """In growing order of steps; all finite."""
    finished: bool
    expected_loss: float | None = None
    """At the horizon, by the method's estimate; None where the run blew up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """Runs at constant learning rates around what the range test suggests."""

    measured_on: MeasuredOn
    """The task's validation part, or one that was held out of the training data."""
    num_samples: int
    """Of that part that were evaluated."""
    initial_loss: float
    """On it, before any step."""
    planned_steps: int
    """Of each run."""
    runs: tuple[ConfirmRun, ...]
    """In growing order of their learning rates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LrSuggestion:
    """A learning rate, and the band that should lose at most 5 % of the attainable decrease of the loss."""

    lr: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.lr <= self.high:
            raise ValueError(f"expected 0 < low <= lr <= high, got {self.low}, {self.lr}, {self.high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinderPicks:
    """What rules of other finders read off the same smoothed curve."""

    steepest: float | None
    """Where the loss falls fastest per ln(lr)."""
    minimum_tenth: float | None
    """A tenth of the learning rate with the lowest loss."""
    valley: float | None
    """Halfway along the longest valley."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LrResult:
    """The answer of `probe lr`: a suggestion inside the tested range, or None with `warnings` that say why."""

    schema: int = SCHEMA_VERSION
    kind: Literal["lr"] = "lr"
    meta: RunMeta
    stopped_by: StoppedBy
    task: str
    optimizer: str
    precision: Precision
    batch_size: int
    lr_schedule: str = "constant"
    """Of the training that is asked about; the suggestion is its peak learning rate."""
    training_steps: int | None = None
    """Planned length of that training in steps."""
    training_steps_assumed: bool = False
    """Nobody said how long it would be."""
    passes: float = 0.0
    """How often that training goes over its data, in passes at the peak learning rate; 0 for data without end."""
    depth: Depth = "range_test"
    lowest_lr: float
    highest_lr: float
    ramp_steps: int = 0
    """Planned, of each range test."""
    num_steps: int
    """Training steps spent, range tests and runs together."""
    suggestion: LrSuggestion | None
    other_finders: FinderPicks | None = None
    warnings: tuple[str, ...]
    curves: tuple[LrCurve, ...]
    confirmation: Confirmation | None = None
    seconds: float

    def __post_init__(self) -> None:
        found = self.suggestion
        if found is not None and not (self.lowest_lr <= found.low and found.high <= self.highest_lr):
            raise ValueError(f"suggestion {found} lies outside the tested {self.lowest_lr} to {self.highest_lr}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LrComparison:
    """The answers of `probe lr` for several optimizers or batch sizes."""

    schema: int = SCHEMA_VERSION
    kind: Literal["lr_comparison"] = "lr_comparison"
    meta: RunMeta
    stopped_by: Literal["finished", "interrupted", "error"]
    task: str
    axis: Axis
    """What differs between the results."""
    results: tuple[LrResult, ...]
    seconds: float
