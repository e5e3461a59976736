"""A task's data as tensors and indices where it can be, and how it is split: never copied, always indexed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset, default_collate

from probe.errors import DataError
from probe.splits import fold_numbers, hold_out_indices, share_indices
from probe.task import Task
from probe.training.trees import num_bytes, tensors_of

MAX_TENSOR_BYTES = 4 * 2**30
"""A map-style data set is read into tensors once if they stay below this; larger ones go through a DataLoader."""


@dataclass(frozen=True, slots=True, eq=False)
class TensorData:
    """Samples as a tree of tensors of equal length and the indices of those that belong to this part."""

    tensors: Any
    indices: np.ndarray[Any, np.dtype[np.int64]]
    """Shape (samples,). An array, no tensor: it stays on the host, where no account of a device's memory counts it."""

    def __len__(self) -> int:
        return len(self.indices)


def as_tensors(data: Any, task: Task) -> TensorData | None:
    """`data` as tensors, or None where only a DataLoader does it justice: transforms per sample, a collate function,
    samples of different shape, or more than MAX_TENSOR_BYTES."""
    if isinstance(data, tuple):
        return TensorData(data, np.arange(len(data[0])))
    if task.collate is not None:
        return None
    if isinstance(data, TensorDataset):
        return TensorData(tuple(data.tensors), np.arange(len(data)))
    if isinstance(data, Subset):
        inner = as_tensors(data.dataset, task)
        return inner and TensorData(inner.tensors, inner.indices[np.asarray(data.indices, dtype=np.int64)])
    if is_unbounded(data) or _has_transforms(data) or not _is_uniform(data):
        return None
    tensors = default_collate([_sample(data, index) for index in range(len(data))])
    return TensorData(tensors, np.arange(len(data)))


def with_tensors(task: Task) -> Task:
    """`task` with a map-style data set read into tensors once, where that is possible, instead of for every attempt."""
    if isinstance(task.train, (tuple, TensorDataset, Subset)):
        return task  # tensors already, or cheap to look through
    data = as_tensors(task.train, task)
    if data is None or not isinstance(data.tensors, (tuple, list)):
        return task
    whole = TensorDataset(*data.tensors)
    return replace(task, train=Subset(whole, data.indices.tolist()))


def hold_out(task: Task, *, share: float, seed: int) -> Task:
    """`task` with a validation part: its own, or `share` of its training samples, stratified where targets are classes, the
    last ones where they stand in time order."""
    if task.val is not None:
        return task
    if task.time_steps is not None:
        return _hold_out_end(task, task.time_steps, share)
    labels = _class_labels(task.train) if task.stratify else None
    rest, held_out = hold_out_indices(num_samples(task.train), share=share, seed=seed, labels=labels)
    base = as_dataset(task.train)
    return replace(task, train=Subset(base, rest.tolist()), val=Subset(base, held_out.tolist()))


def _hold_out_end(task: Task, time_steps: int, share: float) -> Task:
    available = num_samples(task.train)
    _, last_steps = hold_out_indices(time_steps, share=share, seed=0, labels=None, in_time_order=True)
    if len(last_steps) >= available:
        raise DataError(
            f"The last {len(last_steps)} of {time_steps} time steps are to be held out, and only {available} of them are "
            "samples: none would be left to train on.",
            hint="Shorten the window, give a longer series, or hold out a smaller share.",
        )
    base = as_dataset(task.train)
    rest, held_out = range(available - len(last_steps)), range(available - len(last_steps), available)
    return replace(task, train=Subset(base, rest), val=Subset(base, held_out), time_steps=time_steps - len(last_steps))


def hold_out_fold(task: Task, fold: int, *, num_folds: int, seed: int) -> Task:
    """`task` with one of `num_folds` parts of its training samples as validation part, stratified where targets are classes.

    Raises DataError where the task has a validation part of its own, and where its samples stand in time order.
    """
    if task.time_steps is not None:
        raise DataError(
            "The samples stand in time order, and k-fold validation would train on what comes after the samples it validates.",
            hint='Write validation = { kind = "holdout" }: the end of the training part is held out.',
        )
    if task.val is not None:
        raise DataError(
            "The task has a validation part of its own, which k-fold validation would leave unused.",
            hint='Leave val out of the Task, its samples added to train, or write validation = { kind = "holdout" }.',
        )
    labels = _class_labels(task.train) if task.stratify else None
    folds = fold_numbers(num_samples(task.train), num_folds=num_folds, seed=seed, labels=labels)
    base = as_dataset(task.train)
    rest, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
    return replace(task, train=Subset(base, rest.tolist()), val=Subset(base, held_out.tolist()))


def take_share(task: Task, thousandths: int, *, seed: int) -> Task:
    """`task` with that many thousandths of its training samples, rounded up, stratified where targets are classes, the latest
    ones where they stand in time order; a larger share holds all samples of a smaller one."""
    available = num_samples(task.train)
    count = -(-available * thousandths // 1000)
    if count >= available:
        return task
    if task.time_steps is not None:
        latest = Subset(as_dataset(task.train), range(available - count, available))
        return replace(task, train=latest, time_steps=task.time_steps - (available - count))
    labels = _class_labels(task.train) if task.stratify else None
    chosen = share_indices(available, count=count, seed=seed, labels=labels)
    return replace(task, train=Subset(as_dataset(task.train), chosen.tolist()))


def merge_validation(task: Task) -> Task:
    """`task` with its validation samples added to the training samples, and no validation part."""
    if task.val is None:
        return task
    train, val = task.train, task.val
    if task.time_steps is not None:
        task = replace(task, time_steps=task.time_steps + num_samples(val))
    if isinstance(train, Subset) and isinstance(val, Subset) and train.dataset is val.dataset:
        return replace(task, train=Subset(train.dataset, [*train.indices, *val.indices]), val=None)
    if isinstance(train, tuple) and isinstance(val, tuple):
        joined = tuple(torch.cat([a, b]) for a, b in zip(train, val, strict=True))
        return replace(task, train=joined, val=None)
    return replace(task, train=ConcatDataset([as_dataset(train), as_dataset(val)]), val=None)


def take_samples(data: Any, count: int, *, seed: int) -> Any:
    """`count` samples of `data`, drawn without replacement and in their own order; all of it where it has no more."""
    available = num_samples(data)
    if available <= count:
        return data
    chosen = np.sort(np.random.default_rng(seed).choice(available, size=count, replace=False))
    if isinstance(data, tuple):
        return tuple(tensor[torch.from_numpy(chosen)] for tensor in data)
    return Subset(data, chosen.tolist())


def num_samples(data: Any) -> int:
    return len(data[0]) if isinstance(data, tuple) else len(data)


def is_unbounded(data: Any) -> bool:
    """Whether a data set's length means nothing: synthetic samples, of which there are always more."""
    return bool(getattr(data, "unbounded", False))


def as_dataset(data: Any) -> Any:
    """A part of a task, in any form it may have, as a map-style data set."""
    return TensorDataset(*data) if isinstance(data, tuple) else data


def _sample(data: Any, index: int) -> Any:
    try:
        return data[index]
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"Sample {index} of {type(data).__name__} cannot be read: {error}") from error


def _has_transforms(data: Any) -> bool:
    """torchvision's convention: attributes transform, target_transform, transforms; looked for in wrapped data sets too."""
    if any(getattr(data, name, None) is not None for name in ("transform", "target_transform", "transforms")):
        return True
    parts = getattr(data, "datasets", None) or [getattr(data, "dataset", None)]
    return any(_has_transforms(part) for part in parts if part is not None)


def _is_uniform(data: Any) -> bool:
    """Whether the first sample reads the same twice, has the last one's shapes, and all of them stay small enough."""
    first, again, last = _sample(data, 0), _sample(data, 0), _sample(data, len(data) - 1)
    sizes = [num_bytes(default_collate([sample])) for sample in (first, last)]
    if sizes[0] != sizes[1] or sizes[0] * len(data) > MAX_TENSOR_BYTES:
        return False
    pairs = zip(tensors_of(default_collate([first])), tensors_of(default_collate([again])), strict=True)
    shapes = zip(tensors_of(default_collate([first])), tensors_of(default_collate([last])), strict=True)
    return all(torch.equal(a, b) for a, b in pairs) and all(a.shape == b.shape for a, b in shapes)


def _class_labels(data: Any) -> np.ndarray[Any, Any] | None:
    """Integer class of every sample, where they can be had without reading the samples; None otherwise."""
    if isinstance(data, Subset):
        inner = _class_labels(data.dataset)
        return None if inner is None else inner[np.asarray(data.indices)]
    if isinstance(data, TensorDataset):
        data = data.tensors
    targets: Any = data[-1] if isinstance(data, tuple) else getattr(data, "targets", None)
    if isinstance(targets, Sequence) and all(isinstance(target, int) for target in targets):
        targets = torch.tensor(targets)
    if not isinstance(targets, Tensor) or targets.dim() != 1 or targets.is_floating_point():
        return None
    return targets.cpu().numpy()
