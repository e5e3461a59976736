"""Numbers as targets: scaled for training, their errors told in the numbers' own units; and predictions without training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probe.task import Baseline

NAIVE = "naive forecast (last value)"
MEAN = "mean of the training part"
MOST_FREQUENT = "most frequent class"


@dataclass(frozen=True, slots=True)
class Scaling:
    """Mean and standard deviation, one of each a column."""

    mean: np.ndarray
    deviation: np.ndarray
    """1 for a column that does not vary."""

    @classmethod
    def of(cls, values: np.ndarray) -> Scaling:
        """Of `values` (rows, columns)."""
        mean, deviation = values.mean(axis=0), values.std(axis=0)
        # A constant column of large numbers deviates from its rounded mean; that is no spread to divide by.
        flat = deviation <= 1e-12 * np.maximum(1.0, np.abs(mean))
        return cls(mean=mean, deviation=np.where(flat, 1.0, deviation))

    def scaled(self, values: np.ndarray) -> Tensor:
        """`values` (rows, columns) as float32, of mean 0 and standard deviation 1 where this is their own scaling."""
        return torch.from_numpy(((values - self.mean) / self.deviation).astype(np.float32))


def rmse(outputs: Tensor, targets: Tensor, *, unit: float) -> float:
    """Root mean squared error; `unit`: what one scaled step is in the target's own units."""
    return unit * (outputs - targets).float().square().mean().sqrt().item()


def mae(outputs: Tensor, targets: Tensor, *, unit: float) -> float:
    """Mean absolute error; `unit` as for `rmse`."""
    return unit * (outputs - targets).abs().float().mean().item()


def metrics_in_units(unit: float) -> dict[str, Callable[[Any, Any], float]]:
    return {"rmse": partial(rmse, unit=unit), "mae": partial(mae, unit=unit)}


def mean_baseline() -> Baseline:
    """Of scaled targets the mean is zero."""
    return Baseline(name=MEAN, predict=_zeros)


def naive_forecast() -> Baseline:
    """What was, will be: the last value of the column that is forecast, which stands first in a window."""
    return Baseline(name=NAIVE, predict=_last_value)


def most_frequent_class(number: int, *, num_classes: int) -> Baseline:
    return Baseline(name=MOST_FREQUENT, predict=partial(_always, number, num_classes))


def _zeros(rows: Tensor) -> Tensor:
    return torch.zeros(len(rows), 1, device=rows.device)


def _last_value(windows: Tensor) -> Tensor:
    """(N, steps, columns) -> (N, 1)"""
    return windows[:, -1, :1]


def _always(number: int, num_classes: int, inputs: Tensor) -> Tensor:
    """(N, ...) -> (N, num_classes)"""
    outputs = torch.zeros(len(inputs), num_classes, device=inputs.device)
    outputs[:, number] = 1.0
    return outputs
