"""Evaluation of a model on a whole split of the data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from probe.device.protocol import Device
from probe.errors import TaskError
from probe.loading.batch import Batch
from probe.loading.trees import join_batches, map_tensors, split_batches
from probe.task import Baseline, Task, has_updates
from probe.training.metrics import MAX_KEPT_BYTES, RunningMetrics
from probe.training.step import ForwardPass


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Mean loss over samples (the loss of a batch is weighted by its size) and metrics. Values may not be finite."""

    loss: float
    metrics: Mapping[str, float]
    num_samples: int


def evaluate(
    task: Task, model: torch.nn.Module, batches: Iterable[Batch], forward: ForwardPass, device: Device
) -> Evaluation:
    """Evaluate `model` in evaluation mode, and restore its mode afterwards. Only one batch is on the device at a time. Raises
    TaskError if a metric is not a number or cannot be computed from these outputs and targets."""
    was_training = model.training
    model.eval()
    scores = _Scores(task, device)
    try:
        with torch.no_grad():
            for batch in batches:
                scores.add(batch, *forward(model, batch.content))
                del batch  # frees memory for the next batch
            return scores.read()
    finally:
        model.train(was_training)


class BaselineModel(torch.nn.Module):
    """A baseline as a model."""

    def __init__(self, baseline: Baseline) -> None:
        super().__init__()
        self._predict = baseline.predict

    def forward(self, *inputs: Any) -> Any:
        return self._predict(*inputs)


class _Scores:
    def __init__(self, task: Task, device: Device) -> None:
        self._device = device
        self._total: Any = 0.0
        self._count = 0
        self._names = list(task.metrics)
        self._means = RunningMetrics(task.metrics, strict=True)
        self._objects = {n: _fresh(m, device) for n, m in task.metrics.items() if has_updates(m)}
        callables = {n: m for n, m in task.metrics.items() if n not in self._objects and not isinstance(m, str)}
        self._kept = _KeptOutputs(callables, device) if callables else None

    def add(self, batch: Batch, loss: Tensor, outputs: Any) -> None:
        self._total = self._total + loss.detach().double() * batch.num_samples
        self._count += batch.num_samples
        self._means.add(outputs, batch.targets)
        for metric in self._objects.values():
            metric.update(outputs, batch.targets)
        if self._kept is not None:
            self._kept.add(outputs, batch)

    def read(self) -> Evaluation:
        found = self._means.read() | {name: _number(name, metric.compute()) for name, metric in self._objects.items()}
        if self._kept is not None:
            found |= self._kept.read()
        metrics = {name: found[name] for name in self._names}
        return Evaluation(loss=float(self._total) / self._count, metrics=metrics, num_samples=self._count)


class _KeptOutputs:
    """Outputs and targets, kept on the host and not counted as device memory, for metrics of the whole split."""

    def __init__(self, metrics: Mapping[str, Callable[[Any, Any], Any]], device: Device) -> None:
        self._metrics = metrics
        self._device = device
        self._outputs: list[Any] = []
        self._targets: list[Any] = []
        self._sizes: list[int] = []

    def add(self, outputs: Any, batch: Batch) -> None:
        with self._device.untracked():
            self._outputs.append(map_tensors(_on_host, outputs))
            self._targets.append(map_tensors(_on_host, batch.targets))
            self._sizes.append(batch.num_samples)
            if len(self._sizes) == 1:
                self._whole()  # raises an error after the first batch rather than the last

    def read(self) -> dict[str, float]:
        self._device.synchronize()  # copies to the host may not be complete
        with self._device.untracked():
            outputs, targets = self._whole()
            return {name: _number(name, metric(outputs, targets)) for name, metric in self._metrics.items()}

    def _whole(self) -> tuple[Any, Any]:
        return self._joined(self._outputs, "outputs"), self._joined(self._targets, "targets")

    def _joined(self, trees: list[Any], name: str) -> Any:
        try:
            return join_batches(trees, self._sizes)
        except ValueError:
            pass
        try:
            return split_batches(trees, self._sizes, name)
        except TaskError as error:
            raise TaskError(
                f"Metric '{next(iter(self._metrics))}' is computed once on all samples, but {error.message}",
                hint="Return outputs with one row or list entry for each sample, or use a metric object with "
                "update(outputs, targets) and compute(), which is updated with each batch.",
            ) from None


def _on_host(tensor: Tensor) -> Tensor:
    """A copy, because a view keeps its whole storage. Large copies wait for the GPU, because pinned memory is scarce."""
    return tensor.detach().to("cpu", copy=True, non_blocking=tensor.nbytes <= MAX_KEPT_BYTES)


def _fresh(metric: Any, device: Device) -> Any:
    """A fresh copy of a metric object on the device."""
    made = copy.deepcopy(metric)
    if hasattr(made, "reset"):
        made.reset()
    moved = made.to(device.torch_device) if hasattr(made, "to") else made
    return made if moved is None else moved


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TaskError(
            f"Metric '{name}' must return one number, but returned {type(value).__name__}.",
            hint="Reduce it over the samples: it is called once on the whole split.",
        ) from None
