"""Tasks as people write them: metrics that are undefined at times, splits that are drawn anew, parts that share samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

import probe

_generator = torch.Generator().manual_seed(0)
INPUTS = torch.randn(200, 4, generator=_generator)
TARGETS = (INPUTS[:, 0] > 0).long()


def net(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))


def undefined_metric(first: int = 0, last: int = 0, value: str = "nan", width: int = 4) -> probe.Task:
    """`precision` is `value` when it is asked for the `first` to the `last` time."""
    asked = 0

    def precision(outputs: Tensor, targets: Tensor) -> float:
        nonlocal asked
        asked += 1
        return float(value) if first <= asked <= last else 0.5

    return probe.Task(
        model=lambda: net(width),
        train=(INPUTS[:120], TARGETS[:120]),
        test=(INPUTS[120:], TARGETS[120:]),
        metrics={"accuracy": "accuracy", "precision": precision},
        optimizer="sgd",
        batch_size=32,
    )


def undefined_loss() -> probe.Task:
    """The validation loss is NaN, the training loss is not."""

    def forward(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        outputs = model(batch[0])
        loss = nn.functional.cross_entropy(outputs, batch[1])
        return (loss if model.training else loss * math.nan), outputs

    return probe.Task(
        model=net, train=(INPUTS, TARGETS), forward=forward, metrics={"accuracy": "accuracy"}, optimizer="sgd"
    )
