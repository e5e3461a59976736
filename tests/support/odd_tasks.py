"""Tasks as people write them: metrics that are undefined at times, splits that are drawn anew, parts that share samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset, random_split

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


def coin_flips(width: int = 4) -> probe.Task:
    """Labels that nothing can predict, split as most tutorials split: without a generator."""
    targets = torch.randint(0, 2, (200,), generator=torch.Generator().manual_seed(1))
    train, val, test = random_split(TensorDataset(INPUTS, targets), [100, 50, 50])
    return probe.Task(
        model=lambda: net(width), train=train, val=val, test=test, metrics={"accuracy": "accuracy"}, batch_size=16
    )


def overlapping(test: str = "its own") -> probe.Task:
    """A test part that is `its own`, the `validation` part, a `copy` of it, a `piece` of the training part, or `touches` it."""
    parts = {
        "its own": (160, 200),
        "validation": (120, 160),
        "copy": (120, 160),
        "piece": (0, 40),
        "touches": (159, 199),
    }
    first, last = parts[test]
    held = INPUTS[first:last], TARGETS[first:last]
    return probe.Task(
        model=net,
        train=(INPUTS[:120], TARGETS[:120]),
        val=(INPUTS[120:160], TARGETS[120:160]),
        test=(held[0].clone(), held[1].clone()) if test == "copy" else held,
        metrics={"accuracy": "accuracy"},
    )
