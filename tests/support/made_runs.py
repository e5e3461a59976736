"""Training curves with one problem each."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from probe.training.records import DiagnosisKind, EpochReport

START = 2.3
Shape = Callable[[float], tuple[float, float]]
"""Completed fraction of the run, in (0, 1] -> training and validation loss, for a loss that starts at START."""


def falling(to: float, over: float) -> Callable[[float], float]:
    """Exponential decay from START to `to`, with a time constant of `over` runs."""
    return lambda done: to + (START - to) * math.exp(-done / over)


def _overfitting(done: float) -> tuple[float, float]:
    validation = falling(0.4, 0.1)(done) + 0.6 * max(0.0, done - 0.35)
    return falling(0.02, 0.15)(done), validation


SHAPES: dict[DiagnosisKind, tuple[Shape, ...]] = {
    "underfitting": (
        lambda done: (falling(1.7, 0.08)(done), falling(1.75, 0.08)(done)),
        lambda done: (START, START * 1.01),
        lambda done: (falling(1.4, 0.06)(done), falling(1.45, 0.06)(done)),
    ),
    "overfitting": (
        _overfitting,
        lambda done: (falling(0.01, 0.2)(done), START * (1 + 0.5 * done)),
        lambda done: (falling(0.01, 0.1)(done), falling(0.8, 0.06)(done)),
    ),
    "still_improving": (
        lambda done: (falling(0.1, 0.8)(done), falling(0.15, 0.8)(done)),
        lambda done: (START - 1.2 * done, START - 1.1 * done),
        lambda done: (falling(0.02, 0.3)(done), falling(0.1, 0.3)(done)),
    ),
    "plateau": (
        lambda done: (falling(0.7, 0.08)(done), falling(0.75, 0.08)(done)),
        lambda done: (falling(0.45, 0.06)(done), falling(0.5, 0.06)(done)),
    ),
    "healthy": (
        lambda done: (falling(0.06, 0.08)(done), falling(0.13, 0.08)(done)),
        lambda done: (falling(0.04, 0.06)(done), falling(0.08, 0.06)(done)),
    ),
}


def run(
    train: Sequence[float],
    val: Sequence[float] | None = None,
    metrics: Sequence[float] | None = None,
) -> tuple[EpochReport, ...]:
    return tuple(
        EpochReport(
            epoch=number + 1,
            train_loss=loss,
            val_loss=None if val is None else val[number],
            metrics={} if metrics is None else {"accuracy": metrics[number]},
            seconds=1.0,
        )
        for number, loss in enumerate(train)
    )


def noisy_run(
    shape: Shape, *, num_epochs: int, noise: float, seed: int, scale: float = 1.0, with_validation: bool = True
) -> tuple[EpochReport, ...]:
    """`noise` is the standard deviation from epoch to epoch, as a fraction of the loss; the training loss has half of it."""
    draw = random.Random(seed)
    train, val = [], []
    for epoch in range(1, num_epochs + 1):
        at_train, at_val = shape(epoch / num_epochs)
        train.append(scale * at_train * math.exp(draw.gauss(0, noise / 2)))
        val.append(scale * at_val * math.exp(draw.gauss(0, noise)))
    return run(train, val if with_validation else None)


def unstable_run(*, num_epochs: int, seed: int, scale: float = 1.0) -> tuple[EpochReport, ...]:
    """A falling loss that jumps back up every few epochs."""
    draw = random.Random(seed)
    train, val = [], []
    for epoch in range(num_epochs):
        base = 0.4 + 1.9 * math.exp(-epoch / (0.2 * num_epochs))
        jump = draw.uniform(0.8, 1.6) if epoch % 3 == 2 else 0.0
        train.append(scale * (base + 0.6 * jump))
        val.append(scale * (base + jump + 0.05))
    return run(train, val)
