"""Metrics by name: callables (outputs, targets) -> number, called once on a whole part of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from probe.errors import TaskError, unknown_name

Metric = Callable[[Any, Any], Any]


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Share of samples whose largest output is their class. outputs: (samples, classes, ...), targets: (samples, ...)."""
    return (outputs.argmax(dim=1) == targets).float().mean().item()


def error_rate(outputs: Tensor, targets: Tensor) -> float:
    return 1.0 - accuracy(outputs, targets)


def mean_absolute_error(outputs: Tensor, targets: Tensor) -> float:
    return (outputs - targets).abs().float().mean().item()


def root_mean_squared_error(outputs: Tensor, targets: Tensor) -> float:
    return (outputs - targets).float().square().mean().sqrt().item()


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "error_rate": error_rate,
    "mae": mean_absolute_error,
    "rmse": root_mean_squared_error,
}


SHARES_OF_SAMPLES = ("accuracy", "error_rate")


def proportions(metrics: Mapping[str, str | Metric]) -> tuple[str, ...]:
    """Those of a task's metrics that are shares of samples: probe's own, under any name, and whatever is called one."""
    return tuple(
        name for name, metric in metrics.items() if (metric if isinstance(metric, str) else name) in SHARES_OF_SAMPLES
    )


def metric_function(metric: str | Metric) -> Metric:
    """The function behind a name; a callable is taken as it is. Raises TaskError for an unknown name."""
    if callable(metric):
        return metric
    if metric not in METRICS:
        message, hint = unknown_name("metric", metric, list(METRICS))
        raise TaskError(message, hint=f"{hint} Or give a callable (outputs, targets) -> number.")
    return METRICS[metric]
