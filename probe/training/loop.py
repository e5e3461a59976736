"""The training loop of every command (epochs until the end, divergence or a stop), and the summary of a training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from probe.loading.dataset import num_samples
from probe.loading.validation import take_samples
from probe.training.optimizers import is_penalized
from probe.training.records import EpochReport, SplitScore, TrainingSummary, WeightCounts
from probe.training.run import TrainingRun

StopReason = Literal["finished", "diverged", "early_stopped", "infeasible"]


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a training ended."""

    reason: StopReason
    """finished: all epochs were trained. diverged: a loss was not finite. The other two are decided by a stop condition."""
    message: str | None = None


StopCondition = Callable[[EpochReport], Stop | None]


def train_epochs(
    run: TrainingRun,
    epochs: int,
    *,
    on_report: Callable[[EpochReport], object],
    stop_condition: StopCondition | None = None,
    on_epoch_start: Callable[[], object] | None = None,
    repeated_epochs: int = 0,
) -> Stop:
    """Train `run` until `epochs` epochs are done in total, report each of them, and stop if `stop_condition` returns a Stop.
    `repeated_epochs` are the first ones, trained again without any of the calls to get back a lost checkpoint. Exceptions pass,
    those about a lack of memory included (see `probe.device.failures.within_memory`)."""
    while run.epoch < epochs:
        is_repeated = run.epoch < repeated_epochs
        if on_epoch_start is not None and not is_repeated:
            on_epoch_start()
        report = run.run_epoch()
        if report is None:
            return Stop("diverged")
        if is_repeated:
            continue
        on_report(report)
        stop = None if stop_condition is None else stop_condition(report)
        if stop is not None:
            return stop
    return Stop("finished")


NEAR_ZERO = 0.01
"""A weight is near zero below this fraction of the largest weight in its matrix or kernel, whatever the layer and width."""


def summarize_training(run: TrainingRun, last: EpochReport) -> TrainingSummary | None:
    """The summary after the epoch of `last`; None without a validation split, or if the loss is not finite. Evaluating the
    training samples costs about as much as one validation. Metrics that are undefined on either split are omitted. Random
    generators are restored."""
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


MAX_COUNTED = 2**17
"""Weights that are counted at once, on the host, so that counting needs no memory of the device."""


def count_weights(model: nn.Module) -> WeightCounts:
    """Count the trainable weights that penalties apply to."""
    total = zero = near = 0
    for parameter in model.parameters():
        weight = parameter.detach()
        if not parameter.requires_grad or not is_penalized(weight) or weight.numel() == 0:
            continue
        near_zero = NEAR_ZERO * float(torch.linalg.vector_norm(weight, math.inf))
        for part in _parts_of(weight):
            sizes = part.cpu().abs()
            is_zero = sizes == 0
            total += sizes.numel()
            zero += int(torch.count_nonzero(is_zero))
            near += int(torch.count_nonzero(is_zero | (sizes < near_zero)))
    return WeightCounts(num_weights=total, num_zero=zero, num_near_zero=near)


def _parts_of(weight: Tensor) -> Iterator[Tensor]:
    """Views of at most MAX_COUNTED weights."""
    longest = max(range(weight.dim()), key=weight.size)
    for part in torch.split(weight, max(1, MAX_COUNTED * weight.size(longest) // weight.numel()), dim=longest):
        yield from [part] if part.numel() <= MAX_COUNTED else _parts_of(part)
