"""Metrics by name: means over all values of a split, accumulated batch by batch on the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from probe.errors import TaskError, check_known

MAX_KEPT_BYTES = 2**16
"""Outputs up to this size are collected and scored together. One batch at a time, small networks would be 10 % slower."""
IGNORED = -100
"""Class of targets that are ignored: the default `ignore_index` of PyTorch's cross_entropy."""

Sums = tuple[Tensor, Tensor | int]
"""(sum, number of values) over a batch. Tensors stay on the device, so that the host does not wait for a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanMetric:
    """A metric that is a function of the mean over all values of a split."""

    sums: Callable[[Tensor, Tensor], Sums | None]
    """(outputs, targets) of a batch -> sum and count; None if the metric does not apply to them."""
    needs: str
    """Text: required outputs and targets."""
    finish: Callable[[float], float] = float


def _right(outputs: Tensor, targets: Tensor) -> Sums | None:
    if outputs.dim() < 2 or outputs.shape[1] < 2 or targets.is_floating_point():
        return None
    classes = outputs.argmax(dim=1)
    if classes.shape != targets.shape:  # soft targets have no single class
        return None
    return (classes == targets).sum(), (targets != IGNORED).sum()


def _wrong(outputs: Tensor, targets: Tensor) -> Sums | None:
    sums = _right(outputs, targets)
    return None if sums is None else (sums[1] - sums[0], sums[1])


def _absolute_errors(outputs: Tensor, targets: Tensor) -> Sums | None:
    return None if outputs.shape != targets.shape else ((outputs - targets).float().abs_().sum(), targets.numel())


def _squared_errors(outputs: Tensor, targets: Tensor) -> Sums | None:
    return None if outputs.shape != targets.shape else ((outputs - targets).float().square_().sum(), targets.numel())


_CLASSES = "outputs of shape (samples, classes, ...) and class numbers of shape (samples, ...)"
_NUMBERS = "outputs and targets of the same shape"

METRICS: dict[str, MeanMetric] = {
    "accuracy": MeanMetric(sums=_right, needs=_CLASSES),
    "error_rate": MeanMetric(sums=_wrong, needs=_CLASSES),
    "mae": MeanMetric(sums=_absolute_errors, needs=_NUMBERS),
    "rmse": MeanMetric(sums=_squared_errors, needs=_NUMBERS, finish=math.sqrt),
}

PROPORTIONS = ("accuracy", "error_rate")
"""Metrics that are a fraction of the samples."""


def proportions(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """The metrics that are a fraction of the samples: those of PROPORTIONS, and callables with such a name."""
    return tuple(
        name for name, metric in metrics.items() if (metric if isinstance(metric, str) else name) in PROPORTIONS
    )


def named_metric(name: str) -> MeanMetric:
    """The metric with this name. Raises TaskError for an unknown name."""
    also = "You can also pass a callable (outputs, targets) -> number."
    check_known(TaskError, "metric", name, list(METRICS), hint=also)
    return METRICS[name]


class RunningMetrics:
    """Accumulates the named metrics of an epoch on the device. A metric that does not apply to the outputs and targets is an
    error if `strict`, and dropped otherwise: with augmentation that mixes targets, training has no accuracy."""

    def __init__(self, metrics: Mapping[str, Any], *, strict: bool = False) -> None:
        self._metrics: dict[str, MeanMetric] = {
            name: named_metric(metric) for name, metric in metrics.items() if isinstance(metric, str)
        }
        self._strict = strict
        self._sums: dict[str, Sums] = {}
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._kept_bytes = 0
        self._kept_shapes: tuple[torch.Size, torch.Size] | None = None

    def add(self, outputs: Any, targets: Any) -> None:
        """Add a batch or micro-batch. Raises TaskError if `strict` and a metric does not apply."""
        if not self._metrics:
            return
        if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
            self._refuse(list(self._metrics), outputs, targets)
            return
        num_bytes = outputs.untyped_storage().nbytes()  # a view keeps its whole storage alive
        shapes = outputs.shape[1:], targets.shape[1:]
        if self._kept and (self._kept_bytes + num_bytes > MAX_KEPT_BYTES or shapes != self._kept_shapes):
            self._sum_up()
        self._kept_shapes = shapes
        self._kept.append((outputs.detach(), targets))
        self._kept_bytes += num_bytes
        if num_bytes > MAX_KEPT_BYTES:
            self._sum_up()

    def read(self) -> dict[str, float]:
        """The metrics so far; NaN without any value. Waits for the GPU."""
        self._sum_up()
        found = {name: self._metrics[name].finish(_mean(*sums)) for name, sums in self._sums.items()}
        return found if self._strict else {name: value for name, value in found.items() if math.isfinite(value)}

    def _sum_up(self) -> None:
        if not self._kept:
            return
        outputs, targets = (torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*self._kept, strict=True))
        self._kept, self._kept_bytes = [], 0
        for name, metric in list(self._metrics.items()):
            sums = metric.sums(outputs, targets)
            if sums is None:
                self._refuse([name], outputs, targets)
                continue
            total, count = self._sums.get(name, (0, 0))
            self._sums[name] = (sums[0].double() + total, sums[1] + count)

    def _refuse(self, names: list[str], outputs: Any, targets: Any) -> None:
        if self._strict:
            raise TaskError(
                f"Metric '{names[0]}' needs {self._metrics[names[0]].needs}, "
                f"but got {_described(outputs)} and {_described(targets)}.",
                hint="Return such outputs from Task.forward, or pass a callable (outputs, targets) -> number.",
            )
        for name in names:
            del self._metrics[name]
            self._sums.pop(name, None)


def _mean(total: Tensor, count: Tensor | int) -> float:
    return float(total) / int(count) if int(count) > 0 else math.nan


def _described(content: Any) -> str:
    if not isinstance(content, Tensor):
        return f"a {type(content).__name__}"
    return f"{str(content.dtype).removeprefix('torch.')} of shape {tuple(content.shape)}"
