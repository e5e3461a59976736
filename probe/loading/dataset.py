"""A task's data as tensors and indices where it can be, and how it is split: never copied, always indexed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from probe.errors import DataError
from probe.loading.origins import Indices, Origins, origins_of, reads_as, tensors_behind
from probe.loading.sample_cache import SampleCache, cache_of
from probe.loading.trees import num_bytes, tensors_of
from probe.loading.weak_memo import WeakMemo
from probe.loading.whole_split import join_batches
from probe.splits import fold_numbers, hold_out_indices, subset_indices
from probe.task import Task


@dataclass(frozen=True, slots=True, eq=False)
class TensorData:
    """Samples as a tree of tensors of equal length and the indices of those that belong to this part."""

    tensors: Any
    indices: Indices
    """Shape (samples,). An array, no tensor: it stays on the host, where no account of a device's memory counts it."""

    def __len__(self) -> int:
        return len(self.indices)


_joined_tensors: WeakMemo[Any] = WeakMemo()
"""The tensors of several data sets, one after another, so that the parts of a ConcatDataset share one copy."""


def as_tensors(data: Any, task: Task) -> TensorData | None:
    """`data` as rows of tensors; None where samples must be loaded.

    Only what cannot be random is taken for tensors: tuples of tensors, a TensorDataset, Subsets and ConcatDatasets of those,
    and any map-style data set where Task.cache is True. A collate function is given samples, so that it loads them, too.
    """
    if task.collate is not None or is_unbounded(data):
        return None
    origins = origins_of(data)
    found = [_rows_of(base, task, origins) for base in origins.bases]
    stores = [store for store in found if store is not None]
    if len(stores) < len(found):
        return None
    lengths = [len(next(tensors_of(tensors))) for tensors, _ in stores]
    try:
        tensors = _joined([tensors for tensors, _ in stores], lengths)
    except ValueError:
        return None
    return TensorData(tensors, _joined_rows(origins, [rows for _, rows in stores], lengths))


def tensor_bytes(task: Task) -> int:
    """Memory of the tensors behind the training and validation parts, counted once where they share them; 0 where samples are
    loaded."""
    parts = [as_tensors(part, task) for part in (task.train, task.val) if part is not None]
    tensors = {id(tensor): tensor for part in parts if part is not None for tensor in tensors_of(part.tensors)}
    return num_bytes(list(tensors.values()))


def samples_to_load(data: Any, task: Task) -> Any:
    """`data` as a map-style data set for a DataLoader. Where Task.cache is True, its samples are read and kept before."""
    if not task.cache or task.collate is None or is_unbounded(data):
        return as_dataset(data)
    origins = origins_of(data)
    caches = [_cached(base, task, origins, stacked=False) for base in origins.bases]
    samples = [sample for cache in caches for sample in cache.content]
    rows = _joined_rows(origins, [cache.rows for cache in caches], [len(cache.content) for cache in caches])
    return Subset(samples, rows.tolist())  # type: ignore[arg-type]  # a list is a map-style data set


def _rows_of(base: Any, task: Task, origins: Origins) -> tuple[Any, Indices | None] | None:
    """Tensors that hold the samples of `base`, and the row of each sample (None: its index); None where there are none."""
    tensors = tensors_behind(base)
    if tensors is not None:
        return tensors, None
    if not task.cache:
        return None
    cache = _cached(base, task, origins, stacked=True)
    return cache.content, cache.rows


def _cached(base: Any, task: Task, origins: Origins, *, stacked: bool) -> SampleCache:
    """With all samples of `base` that this part, training and validation need, so that the parts share their tensors."""
    parts = [part for part in (task.train, task.val) if part is not None and not is_unbounded(part)]
    wanted = np.concatenate([origins.of(base), *(origins_of(part).of(base) for part in parts)])
    cache = cache_of(base, stacked=stacked)
    cache.read(base, wanted)
    return cache


def _joined(trees: list[Any], lengths: list[int]) -> Any:
    """Raises ValueError where they have different shapes."""
    if len(trees) == 1:
        return trees[0]
    key = [tensor for tree in trees for tensor in tensors_of(tree)]
    return _joined_tensors.get(key, make=lambda: join_batches(trees, lengths))


def _joined_rows(origins: Origins, rows: list[Indices | None], lengths: list[int]) -> Indices:
    """The row of each sample where the rows of all bases stand one after another."""
    joined = np.empty(len(origins.index), dtype=np.int64)
    start = 0
    for number, (base_rows, length) in enumerate(zip(rows, lengths, strict=True)):
        chosen = origins.base_of == number
        index = origins.index[chosen]
        joined[chosen] = start + (index if base_rows is None else base_rows[index])
        start += length
    return joined


def hold_out(task: Task, *, fraction: float, seed: int) -> Task:
    """`task` with a validation part: its own, or `fraction` of its training samples, stratified where targets are classes, the
    last ones where they stand in time order."""
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


def take_fraction(task: Task, thousandths: int, *, seed: int) -> Task:
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
    chosen = subset_indices(available, count=count, seed=seed, labels=labels)
    return replace(task, train=Subset(as_dataset(task.train), chosen.tolist()))


def merge_validation(task: Task) -> Task:
    """`task` with its validation samples added to the training samples, and no validation part."""
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
    """`count` samples of `data`, drawn without replacement and in their own order; all of it where it has no more."""
    available = num_samples(data)
    if available <= count:
        return data
    chosen = np.sort(np.random.default_rng(seed).choice(available, size=count, replace=False))
    return Subset(as_dataset(data), chosen.tolist())


def num_samples(data: Any) -> int:
    return len(data[0]) if isinstance(data, tuple) else len(data)


def is_unbounded(data: Any) -> bool:
    """Whether a data set's length means nothing: synthetic samples, of which there are always more."""
    return bool(getattr(data, "unbounded", False))


def as_dataset(data: Any) -> Any:
    """A tuple of tensors as a TensorDataset; other data as they are."""
    return TensorDataset(*data) if isinstance(data, tuple) else data


def _class_labels(data: Any) -> np.ndarray[Any, Any] | None:
    """Integer class of every sample, where they can be had without reading the samples; None otherwise."""
    if isinstance(data, Subset):
        inner = _class_labels(data.dataset)
        return None if inner is None else inner[np.asarray(data.indices)]
    if isinstance(data, ConcatDataset):
        parts = [_class_labels(part) for part in data.datasets]
        known = [part for part in parts if part is not None]
        return np.concatenate(known) if len(known) == len(parts) else None
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
