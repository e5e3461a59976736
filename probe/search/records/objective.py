"""The objective of a search: a metric, its direction, and how a trial's value follows from its epochs."""

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
"""The validation loss, the one metric that every task has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """The metric that a search optimizes."""

    metric: str
    mode: Mode
    reduce: Reduce = "best"
    """Which epoch of a trial gives its value."""

    def better(self, value: float, than: float) -> bool:
        """Whether `value` is strictly better than `than`."""
        return value > than if self.mode == "max" else value < than


def check_metric(objective: Objective, metrics: Sequence[str]) -> None:
    """Raise RecipeError if the task does not measure the objective's metric."""
    known = (LOSS, *metrics)
    if objective.metric not in known:
        message, hint = unknown_name("metric", objective.metric, known)
        raise RecipeError(message, hint=f"{hint} This task measures: {', '.join(known)}.")


_USUAL_MODES: dict[Mode, str] = {
    "max": "accuracy acc balanced_accuracy f1 auc auroc precision recall iou dice r2 map",
    "min": "loss error_rate error mae mse rmse mape perplexity nll",
}


def direction_warning(metric: str, mode: Mode) -> str | None:
    """Return a warning if a well-known metric is optimized in the wrong direction."""
    usual = next((known for known, names in _USUAL_MODES.items() if metric.lower() in names.split()), mode)
    if usual == mode:
        return None
    return (
        f"The search {'minimizes' if mode == 'min' else 'maximizes'} {metric}, but "
        f'{"lower" if usual == "min" else "higher"} values are usually better: did you mean mode = "{usual}"?'
    )


def epoch_value(objective: Objective, report: EpochReport) -> float | None:
    """Return the metric after one epoch; None if it was not measured or is not finite."""
    value = report.val_loss if objective.metric == LOSS else report.metrics.get(objective.metric)
    return value if value is not None and math.isfinite(value) else None


def best_epoch(objective: Objective, reports: Sequence[EpochReport]) -> int | None:
    """Return the epoch that gives a trial its value (the earliest of equal ones); None if no epoch has a value."""
    found: tuple[int, float] | None = None
    for report in reports:
        value = epoch_value(objective, report)
        if value is not None and (found is None or objective.reduce == "last" or objective.better(value, found[1])):
            found = (report.epoch, value)
    return None if found is None else found[0]


def reduced_value(objective: Objective, reports: Sequence[EpochReport]) -> float | None:
    """Return a trial's value; None if no epoch has one."""
    epoch = best_epoch(objective, reports)
    values = [epoch_value(objective, report) for report in reports if report.epoch == epoch]
    return values[-1] if values else None
