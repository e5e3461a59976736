"""The summary of a training: scores on training and validation samples, and the number of weights that are zero."""

from __future__ import annotations

import math

from torch import nn

from probe.loading.dataset import num_samples
from probe.loading.validation import take_samples
from probe.training.optim.penalties import is_penalized
from probe.training.records import EpochReport, SplitScore, TrainingSummary, WeightCounts
from probe.training.run import TrainingRun

NEAR_ZERO = 0.01
"""A weight is near zero below this fraction of the largest weight in its matrix or kernel, whatever the layer and width."""


def summarize_training(run: TrainingRun, last: EpochReport) -> TrainingSummary | None:
    """The summary after the epoch of `last`; None without a validation split, or if the loss is not finite.

    Validation scores are those of `last`; evaluating the training samples costs about as much as one validation. Metrics that
    are undefined on either split are omitted. Random generators are restored, so that further training is not affected.
    """
    task = run.task
    if task.val is None or last.val_loss is None:
        return None
    num_val = num_samples(task.val)
    with run.random_state_kept():
        found = run.evaluate(take_samples(task.train, num_val, seed=0))
    if not math.isfinite(found.loss):
        return None
    train = {name: value for name, value in found.metrics.items() if name in last.metrics and math.isfinite(value)}
    val = {name: last.metrics[name] for name in train}
    return TrainingSummary(
        epoch=last.epoch,
        train=SplitScore(loss=found.loss, metrics=train, num_samples=found.num_samples),
        val=SplitScore(loss=last.val_loss, metrics=val, num_samples=num_val),
        weights=count_weights(run.model),
    )


def count_weights(model: nn.Module) -> WeightCounts:
    """Count the trainable weights that penalties apply to."""
    total = zero = near = 0
    for weight in model.parameters():
        if not weight.requires_grad or not is_penalized(weight) or weight.numel() == 0:
            continue
        sizes = weight.detach().abs()
        is_zero = sizes == 0
        total += sizes.numel()
        zero += int(is_zero.sum())
        near += int((is_zero | (sizes < NEAR_ZERO * sizes.max())).sum())
    return WeightCounts(num_weights=total, num_zero=zero, num_near_zero=near)
