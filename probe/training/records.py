"""What one training run reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """One epoch of one training run. All numbers are finite: an epoch that is not ends the run as diverged."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    val_loss: float | None
    metrics: Mapping[str, float]
    """On the validation set."""
    seconds: float
