"""Records of a task's data: validation split, fingerprints, and samples that splits share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from probe.units import format_count

SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationSplit:
    """How the validation split is held out, the same for all trials of a search."""

    fraction: float
    """Fraction of the training samples to hold out; ignored in k-fold validation."""
    seed: int
    num_folds: int = 1
    """Number of folds of k-fold validation; 1 for a single held-out split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReference:
    """Fingerprints of a task's data, to detect changes."""

    params: Mapping[str, bool | int | float | str]
    """Hyperparameters that the task was built with."""
    fingerprints: Mapping[str, str]
    """Split (`train`, `val`, `test`) -> fingerprint, equal for the same samples in the same order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Two splits of a task that share samples."""

    first: str
    """Name of the split: train, val or test."""
    second: str
    kind: Literal["same", "equal"]
    """same: samples at the same position in memory or in a data set. equal: samples with the same content."""
    num_shared: int
    """Compared samples of the second split that are also in the first."""
    num_compared: int
    is_error: bool
    """Whether the second split is unusable; otherwise the overlap is a warning."""

    @property
    def text(self) -> str:
        """Text like `50 of 100 test samples are also validation samples`."""
        second, first = SPLIT_NAMES[self.second], SPLIT_NAMES[self.first]
        verb = "are also" if self.kind == "same" else "are equal to"
        count = f"{format_count(self.num_shared)} of {format_count(self.num_compared)} {second} samples"
        return f"{count} {verb} {first} samples"


def overlap_warnings(overlaps: Sequence[Overlap]) -> list[str]:
    """One warning for each pair of splits."""
    return [f"{overlap.text}: {SPLIT_NAMES[overlap.second]} scores may be too good." for overlap in overlaps]


def shared_test_samples(overlaps: Sequence[Overlap]) -> int:
    """Number of test samples that are also training or validation samples: the largest overlap of a pair."""
    return max((overlap.num_shared for overlap in overlaps if overlap.second == "test"), default=0)
