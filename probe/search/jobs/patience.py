"""When a trial has stopped improving. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from probe.search.records.objective import Objective, best_epoch
from probe.training.records import EpochReport


def stale_epochs(objective: Objective, reports: Sequence[EpochReport]) -> int:
    """Epochs since the objective was last better than ever before; 0 where it never had a value: nothing got worse."""
    best = best_epoch(replace(objective, reduce="best"), reports)
    return 0 if best is None else reports[-1].epoch - best


def has_stopped_improving(objective: Objective, reports: Sequence[EpochReport], patience: int | None) -> bool:
    """Whether the last `patience` epochs brought nothing better. Never with None."""
    return patience is not None and bool(reports) and stale_epochs(objective, reports) >= patience
