"""Validation splits of a task, and subsets of its training samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from probe.errors import DataError
from probe.loading.dataset import as_dataset, num_samples, reads_as
from probe.loading.records import ValidationSplit
from probe.splits import fold_numbers, hold_out_indices, subset_indices
from probe.task import Task


def split_task(task: Task, split: ValidationSplit, *, fold: int = 0) -> Task:
    """`task` with the validation split that all trials of a search share; with folds, that of fold number `fold`."""
    if split.num_folds > 1:
        return hold_out_fold(task, fold, num_folds=split.num_folds, seed=split.seed)
    return hold_out(task, fraction=split.fraction, seed=split.seed)


def hold_out(task: Task, *, fraction: float, seed: int) -> Task:
    """`task` with a validation split: its own, or else a fraction of its training samples, stratified if targets are classes.
    Of a time series, the last samples are held out."""
    if task.val is not None:
        return task
    if task.time_steps is not None:
        return _hold_out_end(task, task.time_steps, fraction)
    labels = _class_labels(task.train) if task.stratify else None
    rest, held_out = hold_out_indices(num_samples(task.train), fraction=fraction, seed=seed, labels=labels)
    base = as_dataset(task.train)
    return replace(task, train=Subset(base, rest.tolist()), val=Subset(base, held_out.tolist()))


def _hold_out_end(task: Task, time_steps: int, fraction: float) -> Task:
    available = num_samples(task.train)
    _, last_steps = hold_out_indices(time_steps, fraction=fraction, seed=0, labels=None, in_time_order=True)
    if len(last_steps) >= available:
        raise DataError(
            f"The last {len(last_steps)} of {time_steps} time steps are to be held out, but there are only {available} "
            "samples, so none would be left to train on.",
            hint="Use a shorter window or a longer series, or hold out a smaller fraction.",
        )
    base = as_dataset(task.train)
    rest, held_out = range(available - len(last_steps)), range(available - len(last_steps), available)
    return replace(task, train=Subset(base, rest), val=Subset(base, held_out), time_steps=time_steps - len(last_steps))


def hold_out_fold(task: Task, fold: int, *, num_folds: int, seed: int) -> Task:
    """`task` with one fold of its training samples as validation split, stratified if targets are classes. Raises DataError if
    it has its own validation split or is a time series."""
    if task.time_steps is not None:
        raise DataError(
            "The samples are a time series, and k-fold validation would train on samples later than those it validates on.",
            hint='Write validation = { kind = "holdout" }, which holds out the end of the training split.',
        )
    if task.val is not None:
        raise DataError(
            "The task has its own validation split, which k-fold validation would not use.",
            hint='Move the samples of val to train in the Task, or write validation = { kind = "holdout" }.',
        )
    labels = _class_labels(task.train) if task.stratify else None
    folds = fold_numbers(num_samples(task.train), num_folds=num_folds, seed=seed, labels=labels)
    base = as_dataset(task.train)
    rest, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
    return replace(task, train=Subset(base, rest.tolist()), val=Subset(base, held_out.tolist()))


def take_fraction(task: Task, thousandths: int, *, seed: int) -> Task:
    """`task` with that many thousandths of its training samples, rounded up; stratified if targets are classes, the latest ones
    of a time series. A larger fraction includes all samples of a smaller one."""
    available = num_samples(task.train)
    count = -(-available * thousandths // 1000)
    if count >= available:
        return task
    if task.time_steps is not None:
        latest = Subset(as_dataset(task.train), range(available - count, available))
        return replace(task, train=latest, time_steps=task.time_steps - (available - count))
    labels = _class_labels(task.train) if task.stratify else None
    chosen = subset_indices(available, count=count, seed=seed, labels=labels)
    return replace(task, train=Subset(as_dataset(task.train), chosen.tolist()))


def merge_validation(task: Task) -> Task:
    """`task` with its validation samples added to the training samples, and no validation split."""
    if task.val is None:
        return task
    train, val = task.train, task.val
    if task.time_steps is not None:
        task = replace(task, time_steps=task.time_steps + num_samples(val))
    if reads_as(train, Subset) and reads_as(val, Subset) and train.dataset is val.dataset:
        return replace(task, train=Subset(train.dataset, [*train.indices, *val.indices]), val=None)
    if isinstance(train, tuple) and isinstance(val, tuple):
        joined = tuple(torch.cat([a, b]) for a, b in zip(train, val, strict=True))
        return replace(task, train=joined, val=None)
    return replace(task, train=ConcatDataset([as_dataset(train), as_dataset(val)]), val=None)


def take_samples(data: Any, count: int, *, seed: int) -> Any:
    """`count` random samples of `data` in their original order, or all if there are no more."""
    available = num_samples(data)
    if available <= count:
        return data
    chosen = np.sort(np.random.default_rng(seed).choice(available, size=count, replace=False))
    return Subset(as_dataset(data), chosen.tolist())


def _class_labels(data: Any) -> np.ndarray[Any, Any] | None:
    """Class number of every sample; None if that requires reading the samples."""
    if isinstance(data, Subset):
        inner = _class_labels(data.dataset)
        return None if inner is None else inner[np.asarray(data.indices)]
    if isinstance(data, ConcatDataset):
        labels = [_class_labels(inner) for inner in data.datasets]
        known = [classes for classes in labels if classes is not None]
        return np.concatenate(known) if len(known) == len(labels) else None
    if isinstance(data, TensorDataset):
        data = data.tensors
    targets: Any = data[-1] if isinstance(data, tuple) else getattr(data, "targets", None)
    if isinstance(targets, Tensor):
        targets = targets.cpu().numpy()
    elif isinstance(targets, Sequence) and all(isinstance(target, (int, np.integer)) for target in targets):
        targets = np.array(targets)
    if not isinstance(targets, np.ndarray) or targets.ndim != 1 or targets.dtype.kind not in "iub":
        return None
    return targets
