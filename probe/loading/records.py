"""Records of a task's data: its fingerprints, and samples that several of its parts share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from probe.units import format_count

SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationSplit:
    """How the validation part is held out: equal for all trials of a search."""

    fraction: float
    seed: int
    num_folds: int = 1
    """More than one: k-fold, in which `fraction` means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReference:
    """The data of a task that was built with these hyperparameters, to be recognized by."""

    params: Mapping[str, bool | int | float | str]
    """The task's own."""
    fingerprints: Mapping[str, str]
    """One for each part that the task has, `train`, `val` and `test`: equal for equal samples in an equal order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Two parts of a task that share samples."""

    first: str
    """A field of the task: train, val or test."""
    second: str
    kind: Literal["same", "equal"]
    """same: the samples lie at the same place. equal: they hold the same numbers."""
    num_shared: int
    """Of the second part's samples that were compared, those that are in the first, too."""
    num_compared: int
    is_error: bool
    """The second part is no part of its own; otherwise a warning will do."""

    @property
    def text(self) -> str:
        """`50 of 100 test samples are validation samples, too`."""
        second, first = SPLIT_NAMES[self.second], SPLIT_NAMES[self.first]
        verb = "are" if self.kind == "same" else "are equal to"
        count = f"{format_count(self.num_shared)} of {format_count(self.num_compared)} {second} samples"
        return f"{count} {verb} {first} samples{', too' if self.kind == 'same' else ''}"


def overlap_warnings(overlaps: Sequence[Overlap]) -> list[str]:
    """A sentence for each pair of parts."""
    return [f"{overlap.text}: the {SPLIT_NAMES[overlap.second]} figures may be too good." for overlap in overlaps]


def shared_test_samples(overlaps: Sequence[Overlap]) -> int:
    """Test samples that are training or validation samples, too: the most that any pair shares."""
    return max((overlap.num_shared for overlap in overlaps if overlap.second == "test"), default=0)
