"""Scaling of columns of numbers, metrics in their units, and baselines: predictions without training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probe.task import Baseline


@dataclass(frozen=True, slots=True)
class Scaling:
    """Mean and standard deviation of each column."""

    mean: np.ndarray
    deviation: np.ndarray
    """1 for a column that does not vary."""

    @classmethod
    def of(cls, values: np.ndarray) -> Scaling:
        """The scaling of `values` (rows, columns)."""
        mean, deviation = values.mean(axis=0), values.std(axis=0)
        # Rounding gives a constant column of large numbers a tiny standard deviation; do not divide by it.
        flat = deviation <= 1e-12 * np.maximum(1.0, np.abs(mean))
        return cls(mean=mean, deviation=np.where(flat, 1.0, deviation))

    def scaled(self, values: np.ndarray) -> Tensor:
        """`values` (rows, columns), minus the mean and divided by the standard deviation, as float32."""
        return torch.from_numpy(((values - self.mean) / self.deviation).astype(np.float32))


def rmse(outputs: Tensor, targets: Tensor, *, unit: float) -> float:
    """Root mean squared error of scaled numbers, multiplied by `unit`, the standard deviation of the target."""
    return unit * (outputs - targets).float().square().mean().sqrt().item()


def mae(outputs: Tensor, targets: Tensor, *, unit: float) -> float:
    """Mean absolute error of scaled numbers, multiplied by `unit`, the standard deviation of the target."""
    return unit * (outputs - targets).abs().float().mean().item()


def metrics_in_units(unit: float) -> dict[str, Callable[[Any, Any], float]]:
    """RMSE and MAE in the units of a target whose standard deviation is `unit`."""
    return {"rmse": partial(rmse, unit=unit), "mae": partial(mae, unit=unit)}


def most_frequent_class(number: int, *, num_classes: int) -> Baseline:
    """Predicts the class `number`."""
    return Baseline(name="most frequent class", predict=partial(_always, number, num_classes))


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


MEAN = Baseline(name="mean of the training split", predict=_zeros)
"""The mean is zero for scaled targets."""
NAIVE_FORECAST = Baseline(name="naive forecast (last value)", predict=_last_value)
"""The forecast column is the first column of a window."""
