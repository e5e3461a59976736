"""A model scored on a whole part of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from probe.errors import TaskError
from probe.task import Baseline, Task
from probe.training.batches import Batches
from probe.training.metrics import metric_function
from probe.training.step import ForwardPass
from probe.training.trees import concatenate, map_tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Mean loss over the samples, and each metric called once on all of them. Either may be not finite."""

    loss: float
    metrics: Mapping[str, float]
    num_samples: int


def evaluate(task: Task, model: torch.nn.Module, batches: Batches, forward: ForwardPass) -> Evaluation:
    """Score `model` in evaluation mode; its mode is put back afterwards. Raises TaskError for a metric that is no number."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return _evaluate(task, model, batches, forward)
    finally:
        model.train(was_training)


class BaselineModel(torch.nn.Module):
    """A baseline where a model is expected."""

    def __init__(self, baseline: Baseline) -> None:
        super().__init__()
        self._predict = baseline.predict

    def forward(self, *inputs: Any) -> Any:
        return self._predict(*inputs)


def _evaluate(task: Task, model: torch.nn.Module, batches: Batches, forward: ForwardPass) -> Evaluation:
    total: Any = 0.0
    count = 0
    outputs, targets = [], []
    for batch in batches.epoch(0):
        loss, output = forward(model, batch.content)
        total = total + loss.double() * batch.num_samples
        count += batch.num_samples
        if task.metrics:
            outputs.append(map_tensors(torch.Tensor.detach, output))
            targets.append(batch.targets)
    metrics = {}
    if task.metrics:
        all_outputs, all_targets = concatenate(outputs), concatenate(targets)
        for name, metric in task.metrics.items():
            metrics[name] = _number(name, metric_function(metric)(all_outputs, all_targets))
    return Evaluation(loss=float(total) / count, metrics=metrics, num_samples=count)


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TaskError(
            f"Metric '{name}' must return one number, but returned {type(value).__name__}.",
            hint="Reduce it over the samples: it is called once on the whole part.",
        ) from None
