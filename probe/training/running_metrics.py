"""Metrics of the training samples, summed up while an epoch trains on them: no second pass over the data, no wait for a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from probe.training.metrics import Metric

PerSample = Callable[[Tensor, Tensor], Tensor | None]
"""(outputs, targets) -> one value each, or None where these are no such outputs and targets."""


def _right(outputs: Tensor, targets: Tensor) -> Tensor | None:
    if outputs.dim() < 2 or targets.is_floating_point():
        return None
    classes = outputs.argmax(dim=1)
    return classes == targets if classes.shape == targets.shape else None  # mixed or soft targets have no one class


def _wrong(outputs: Tensor, targets: Tensor) -> Tensor | None:
    right = _right(outputs, targets)
    return None if right is None else ~right


def _absolute_error(outputs: Tensor, targets: Tensor) -> Tensor | None:
    return (outputs - targets).abs() if outputs.shape == targets.shape else None


MEANS_OVER_SAMPLES: Mapping[str, PerSample] = {"accuracy": _right, "error_rate": _wrong, "mae": _absolute_error}
"""The named metrics of which an epoch's value is the mean over its batches. What a user's own callable does is unknown, and a
root of a mean is none."""
MAX_KEPT_BYTES = 2**20
"""Small outputs are kept and scored many batches at a time: operator by operator, a small network would be a tenth slower."""


class RunningMetrics:
    """Sums on the device, read once at an epoch's end. Only of metrics in MEANS_OVER_SAMPLES; one whose outputs and targets
    turn out not to be such (augmentation that mixes targets, a task's own outputs) is left out."""

    def __init__(self, metrics: Mapping[str, str | Metric]) -> None:
        self._per_sample = {
            name: MEANS_OVER_SAMPLES[metric]
            for name, metric in metrics.items()
            if isinstance(metric, str) and metric in MEANS_OVER_SAMPLES
        }
        self._sums: dict[str, Tensor] = {}
        self._num_values = 0
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._kept_bytes = 0

    def add(self, outputs: Any, targets: Any) -> None:
        """Of one batch or micro-batch: outputs as they were before its update."""
        if not self._per_sample:
            return
        if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
            self._per_sample.clear()
            return
        if self._kept and any(
            new.shape[1:] != kept.shape[1:] for new, kept in zip((outputs, targets), self._kept[0], strict=True)
        ):
            self._sum_up()
        self._kept.append((outputs.detach(), targets))
        self._kept_bytes += outputs.untyped_storage().nbytes()  # a view keeps all of what it looks at
        if self._kept_bytes > MAX_KEPT_BYTES:
            self._sum_up()

    def read(self) -> dict[str, float]:
        """The means so far, those that are finite. Waits for a GPU."""
        self._sum_up()
        means = {name: self._sums[name].item() / self._num_values for name in self._per_sample if name in self._sums}
        return {name: mean for name, mean in means.items() if math.isfinite(mean)}

    def _sum_up(self) -> None:
        if not self._kept:
            return
        outputs, targets = (torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*self._kept, strict=True))
        self._kept, self._kept_bytes = [], 0
        for name, per_sample in list(self._per_sample.items()):
            values = per_sample(outputs, targets)
            if values is None:
                del self._per_sample[name]
                continue
            total = values.sum()
            self._sums[name] = self._sums[name] + total if name in self._sums else total
        self._num_values += targets.numel()
