"""The number that a search improves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from probe.errors import RecipeError, unknown_name
from probe.training.records import EpochReport

Mode = Literal["max", "min"]
Reduce = Literal["best", "last"]
LOSS = "loss"
"""The one metric that every task has: the validation loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    metric: str
    mode: Mode
    reduce: Reduce = "best"
    """Which of a trial's epochs counts."""

    def better(self, value: float, than: float) -> bool:
        return value > than if self.mode == "max" else value < than


def check_metric(objective: Objective, metrics: Sequence[str]) -> None:
    """Raise RecipeError where the task does not measure the objective's metric."""
    known = (LOSS, *metrics)
    if objective.metric not in known:
        message, hint = unknown_name("metric", objective.metric, known)
        raise RecipeError(message, hint=f"{hint} This task measures: {', '.join(known)}.")


_USUAL_MODES: dict[Mode, tuple[str, ...]] = {
    "max": (
        "accuracy",
        "acc",
        "balanced_accuracy",
        "f1",
        "auc",
        "auroc",
        "precision",
        "recall",
        "iou",
        "dice",
        "r2",
        "map",
    ),
    "min": ("loss", "error_rate", "error", "mae", "mse", "rmse", "mape", "perplexity", "nll"),
}


def direction_warning(metric: str, mode: Mode) -> str | None:
    """Where a metric whose better direction is known by its name is optimized the other way."""
    usual = next((known for known, names in _USUAL_MODES.items() if metric.lower() in names), mode)
    if usual == mode:
        return None
    return (
        f"The search {'minimizes' if mode == 'min' else 'maximizes'} {metric}, but "
        f'{"lower" if usual == "min" else "higher"} values are usually better: did you mean mode = "{usual}"?'
    )


def epoch_value(objective: Objective, report: EpochReport) -> float | None:
    """The metric after one epoch, None where it was not measured or is not finite."""
    value = report.val_loss if objective.metric == LOSS else report.metrics.get(objective.metric)
    return value if value is not None and math.isfinite(value) else None


def best_epoch(objective: Objective, reports: Sequence[EpochReport]) -> int | None:
    """The epoch whose value counts: the best one, of equal ones the earliest, or the last one. None without any value."""
    found: tuple[int, float] | None = None
    for report in reports:
        value = epoch_value(objective, report)
        if value is not None and (found is None or objective.reduce == "last" or objective.better(value, found[1])):
            found = (report.epoch, value)
    return None if found is None else found[0]


def reduced_value(objective: Objective, reports: Sequence[EpochReport]) -> float | None:
    """A trial's value over its reports."""
    epoch = best_epoch(objective, reports)
    values = [epoch_value(objective, report) for report in reports if report.epoch == epoch]
    return values[-1] if values else None
