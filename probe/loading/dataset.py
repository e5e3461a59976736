"""A task's data as indices into tensors if possible, or as a data set to load; data are indexed, not copied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import Subset, TensorDataset

from probe.loading.origins import Indices, Origins, origins_of, tensors_behind
from probe.loading.sample_cache import SampleCache, cache_of
from probe.loading.trees import num_bytes, tensors_of
from probe.loading.weak_memo import WeakMemo
from probe.loading.whole_split import join_batches
from probe.task import Task


@dataclass(frozen=True, slots=True, eq=False)
class TensorData:
    """Samples as a tree of tensors of equal length, and the indices of those that belong to a split."""

    tensors: Any
    indices: Indices
    """Shape (samples,). A NumPy array, so that it does not count as device memory."""

    def __len__(self) -> int:
        return len(self.indices)


_joined_tensors: WeakMemo[Any] = WeakMemo()
"""Concatenated tensors of several data sets, so that splits of a ConcatDataset share one copy."""


def as_tensors(data: Any, task: Task) -> TensorData | None:
    """`data` as rows of tensors; None if samples must be loaded one by one.

    Only data that cannot be random are used as tensors: tuples of tensors, a TensorDataset, Subsets and ConcatDatasets of
    those, and any map-style data set if Task.cache is True. A collate function needs single samples, so they are loaded.
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
    """Bytes of the training and validation tensors, shared ones counted once; 0 if samples are loaded."""
    splits = [as_tensors(data, task) for data in (task.train, task.val) if data is not None]
    tensors = {id(tensor): tensor for data in splits if data is not None for tensor in tensors_of(data.tensors)}
    return num_bytes(list(tensors.values()))


def samples_to_load(data: Any, task: Task) -> Any:
    """`data` as a map-style data set for a DataLoader. If Task.cache is True, its samples are read and cached first."""
    if not task.cache or task.collate is None or is_unbounded(data):
        return as_dataset(data)
    origins = origins_of(data)
    caches = [_cached(base, task, origins, stacked=False) for base in origins.bases]
    samples = [sample for cache in caches for sample in cache.content]
    rows = _joined_rows(origins, [cache.rows for cache in caches], [len(cache.content) for cache in caches])
    return Subset(samples, rows.tolist())  # type: ignore[arg-type]  # a list is a map-style data set


def _rows_of(base: Any, task: Task, origins: Origins) -> tuple[Any, Indices | None] | None:
    """The tensors with the samples of `base`, and the row of each sample (None for its index); None if there are none."""
    tensors = tensors_behind(base)
    if tensors is not None:
        return tensors, None
    if not task.cache:
        return None
    cache = _cached(base, task, origins, stacked=True)
    return cache.content, cache.rows


def _cached(base: Any, task: Task, origins: Origins, *, stacked: bool) -> SampleCache:
    """A cache with the samples of `base` in these data and in the training and validation splits, which share it."""
    splits = [data for data in (task.train, task.val) if data is not None and not is_unbounded(data)]
    wanted = np.concatenate([origins.of(base), *(origins_of(data).of(base) for data in splits)])
    cache = cache_of(base, stacked=stacked)
    cache.read(base, wanted)
    return cache


def _joined(trees: list[Any], lengths: list[int]) -> Any:
    """Concatenate trees of tensors. Raises ValueError if their shapes differ."""
    if len(trees) == 1:
        return trees[0]
    key = [tensor for tree in trees for tensor in tensors_of(tree)]
    return _joined_tensors.get(key, make=lambda: join_batches(trees, lengths))


def _joined_rows(origins: Origins, rows: list[Indices | None], lengths: list[int]) -> Indices:
    """The row of each sample in the concatenated rows of all bases."""
    joined = np.empty(len(origins.index), dtype=np.int64)
    start = 0
    for number, (base_rows, length) in enumerate(zip(rows, lengths, strict=True)):
        chosen = origins.base_of == number
        index = origins.index[chosen]
        joined[chosen] = start + (index if base_rows is None else base_rows[index])
        start += length
    return joined


def num_samples(data: Any) -> int:
    """Number of samples of a tuple of tensors or a data set."""
    return len(data[0]) if isinstance(data, tuple) else len(data)


def is_unbounded(data: Any) -> bool:
    """Whether a data set generates samples without end, so that its length is meaningless."""
    return bool(getattr(data, "unbounded", False))


def as_dataset(data: Any) -> Any:
    """A tuple of tensors as a TensorDataset; other data unchanged."""
    return TensorDataset(*data) if isinstance(data, tuple) else data
