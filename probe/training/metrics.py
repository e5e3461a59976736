"""Metrics by name: means over all values of a part of the data, summed batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from probe.errors import TaskError, unknown_name

IGNORED = -100
"""Targets of this class do not count, as for PyTorch's cross_entropy (its default `ignore_index`)."""

Metric = Callable[[Any, Any], Any]
Sums = tuple[Tensor, Tensor | int]
"""The sum of a batch's values, a scalar, and how many they are. Neither is read, so that nothing waits for a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanMetric:
    """A function of the mean over all values of a part."""

    sums: Callable[[Tensor, Tensor], Sums | None]
    """(outputs, targets) of a batch -> sum and count; None where they do not fit together."""
    needs: str
    """What outputs and targets must be, in words."""
    finish: Callable[[float], float] = float


def _right(outputs: Tensor, targets: Tensor) -> Sums | None:
    if outputs.dim() < 2 or outputs.shape[1] < 2 or targets.is_floating_point():
        return None
    classes = outputs.argmax(dim=1)
    if classes.shape != targets.shape:  # mixed or soft targets have no one class
        return None
    return (classes == targets).sum(), (targets != IGNORED).sum()


def _wrong(outputs: Tensor, targets: Tensor) -> Sums | None:
    sums = _right(outputs, targets)
    return None if sums is None else (sums[1] - sums[0], sums[1])


def _absolute_errors(outputs: Tensor, targets: Tensor) -> Sums | None:
    return None if outputs.shape != targets.shape else ((outputs - targets).float().abs_().sum(), targets.numel())


def _squared_errors(outputs: Tensor, targets: Tensor) -> Sums | None:
    return None if outputs.shape != targets.shape else ((outputs - targets).float().square_().sum(), targets.numel())


_CLASSES = "outputs (samples, classes, ...) and class numbers (samples, ...)"
_NUMBERS = "outputs and targets of one shape"

METRICS: dict[str, MeanMetric] = {
    "accuracy": MeanMetric(sums=_right, needs=_CLASSES),
    "error_rate": MeanMetric(sums=_wrong, needs=_CLASSES),
    "mae": MeanMetric(sums=_absolute_errors, needs=_NUMBERS),
    "rmse": MeanMetric(sums=_squared_errors, needs=_NUMBERS, finish=math.sqrt),
}


SHARES_OF_SAMPLES = ("accuracy", "error_rate")


def proportions(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of a task's metrics that are shares of samples: probe's own, under any name, and whatever is called one."""
    return tuple(
        name for name, metric in metrics.items() if (metric if isinstance(metric, str) else name) in SHARES_OF_SAMPLES
    )


def named_metric(name: str) -> MeanMetric:
    """Raises TaskError for an unknown name."""
    if name not in METRICS:
        message, hint = unknown_name("metric", name, list(METRICS))
        raise TaskError(message, hint=f"{hint} Or give a callable (outputs, targets) -> number.")
    return METRICS[name]
