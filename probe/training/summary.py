"""What a training has come to: the model on its training samples and on the others, and how many of its weights are zero."""

from __future__ import annotations

import math

from torch import nn

from probe.loading.dataset import num_samples
from probe.loading.validation import take_samples
from probe.training.optim.penalties import is_penalized
from probe.training.records import EpochReport, SplitScore, TrainingSummary, WeightCounts
from probe.training.run import TrainingRun

NEAR_ZERO = 0.01
"""Of the largest weight of the same matrix or kernel. Relative, so that it means the same for every width and layer."""


def summarize_training(run: TrainingRun, last: EpochReport) -> TrainingSummary | None:
    """After the epoch of `last`, whose validation it takes over: it costs about as much as validating once more. None without
    a validation part, or where the loss is not finite. Metrics without a value on either part are left out.

    The generators are left as they were: whoever goes on from here trains as if nobody had looked.
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
    """Over the trainable weights that penalties are for."""
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
