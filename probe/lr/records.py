"""What an LR probe leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from probe.records import SCHEMA_VERSION, Precision, RunMeta

CurveEnd = Literal["finished", "diverged", "non_finite", "interrupted"]
StoppedBy = Literal["finished", "interrupted"]


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

    def __post_init__(self) -> None:
        if any(before.lr >= after.lr for before, after in pairwise(self.points)):
            raise ValueError("the learning rate of a range test must grow with every step")


@dataclass(frozen=True, slots=True, kw_only=True)
class LrProgress:
    """How far a range test is: what observers are told while it runs."""

    step: int
    """Steps done."""
    num_steps: int
    lr: float
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LrSuggestion:
    """A learning rate, and the band around it that describes the curve: from 80 % of the loss's drop to its minimum."""

    lr: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.lr <= self.high:
            raise ValueError(f"expected 0 < low <= lr <= high, got {self.low}, {self.lr}, {self.high}")


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
    lowest_lr: float
    highest_lr: float
    num_steps: int
    """Training steps spent, all curves together."""
    suggestion: LrSuggestion | None
    warnings: tuple[str, ...]
    curves: tuple[LrCurve, ...]
    seconds: float

    def __post_init__(self) -> None:
        found = self.suggestion
        if found is not None and not (self.lowest_lr <= found.low and found.high <= self.highest_lr):
            raise ValueError(f"suggestion {found} lies outside the tested {self.lowest_lr} to {self.highest_lr}")
