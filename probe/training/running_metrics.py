"""Named metrics, summed up batch by batch: no outputs are kept for them, and nothing waits for a GPU."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from probe.errors import TaskError
from probe.training.metrics import MeanMetric, Sums, named_metric

MAX_KEPT_BYTES = 2**16
"""Small outputs are kept and scored many batches at a time: operator by operator, a small network would be a tenth slower."""


class RunningMetrics:
    """Sums on the device, read once at an epoch's end: of the metrics that are given by name.

    Outputs and targets that are not what a metric needs are an error where `strict`. Otherwise the metric is left out, as one
    that is not finite is: augmentation that mixes targets leaves training without an accuracy.
    """

    def __init__(self, metrics: Mapping[str, Any], *, strict: bool = False) -> None:
        self._metrics: dict[str, MeanMetric] = {
            name: named_metric(metric) for name, metric in metrics.items() if isinstance(metric, str)
        }
        self._strict = strict
        self._sums: dict[str, Sums] = {}
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._kept_bytes = 0

    def add(self, outputs: Any, targets: Any) -> None:
        """Of one batch or micro-batch: outputs as they were before its update. Raises TaskError where `strict`."""
        if not self._metrics:
            return
        if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
            self._refuse(list(self._metrics), outputs, targets)
            return
        num_bytes = outputs.untyped_storage().nbytes()  # a view keeps all of what it looks at
        if self._kept and (
            self._kept_bytes + num_bytes > MAX_KEPT_BYTES
            or any(new.shape[1:] != kept.shape[1:] for new, kept in zip((outputs, targets), self._kept[0], strict=True))
        ):
            self._sum_up()
        self._kept.append((outputs.detach(), targets))
        self._kept_bytes += num_bytes
        if num_bytes > MAX_KEPT_BYTES:
            self._sum_up()

    def read(self) -> dict[str, float]:
        """The metrics so far; NaN where no value counted. Waits for a GPU."""
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
                f"Metric '{names[0]}' needs {self._metrics[names[0]].needs}, but got {_words(outputs)} and {_words(targets)}.",
                hint="Let Task.forward return such outputs, or give a callable (outputs, targets) -> number.",
            )
        for name in names:
            del self._metrics[name]
            self._sums.pop(name, None)


def _mean(total: Tensor, count: Tensor | int) -> float:
    return float(total) / int(count) if int(count) > 0 else math.nan


def _words(content: Any) -> str:
    if not isinstance(content, Tensor):
        return f"a {type(content).__name__}"
    return f"{str(content.dtype).removeprefix('torch.')} of shape {tuple(content.shape)}"
