"""A task's data as indices into tensors if possible, or as a data set to load; data are indexed, not copied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from probe.loading.caches import Indices, SampleCache, WeakMemo, cache_of
from probe.loading.trees import join_batches, num_bytes, tensors_of
from probe.task import Task


@dataclass(frozen=True, slots=True, eq=False)
class Origins:
    """The data set of each sample and its index there."""

    bases: tuple[Any, ...]
    """Distinct data sets that are not a Subset or ConcatDataset."""
    base_of: Indices
    """Position in `bases` of each sample's data set, shape (samples,)."""
    index: Indices
    """Index of each sample in its data set, shape (samples,)."""

    def of(self, base: Any) -> Indices:
        """Indices of the samples that are in `base`."""
        numbers = [number for number, other in enumerate(self.bases) if other is base]
        return self.index[np.isin(self.base_of, numbers)]


def origins_of(data: Any) -> Origins:
    """Origins of a map-style data set or a tuple of tensors. A subclass that overrides how samples are read, such as a Subset
    that transforms them, is not resolved."""
    if reads_as(data, Subset):
        inner = origins_of(data.dataset)
        chosen = np.asarray(data.indices, dtype=np.int64)
        return Origins(inner.bases, inner.base_of[chosen], inner.index[chosen])
    if reads_as(data, ConcatDataset):
        return _joined_origins([origins_of(part) for part in data.datasets])
    length = len(data[0]) if isinstance(data, tuple) else len(data)
    return Origins((data,), np.zeros(length, dtype=np.int64), np.arange(length, dtype=np.int64))


def reads_as(data: Any, kind: type) -> bool:
    """Whether `data` is an instance of `kind` that does not override how samples are read."""
    methods = ("__getitem__", "__getitems__", "__len__")
    return isinstance(data, kind) and all(
        getattr(type(data), method, None) is getattr(kind, method, None) for method in methods
    )


def tensors_behind(base: Any) -> tuple[Any, ...] | None:
    """The tensors of a tuple or a TensorDataset; None for other data sets."""
    if isinstance(base, tuple):
        return base
    return tuple(base.tensors) if reads_as(base, TensorDataset) else None


def _joined_origins(parts: list[Origins]) -> Origins:
    bases: list[Any] = []
    numbers = []
    for part in parts:
        for base in part.bases:
            if all(base is not other for other in bases):
                bases.append(base)
        places = np.array([next(n for n, other in enumerate(bases) if other is base) for base in part.bases])
        numbers.append(places[part.base_of])
    return Origins(tuple(bases), np.concatenate(numbers), np.concatenate([part.index for part in parts]))


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
    """`data` as rows of tensors; None if samples must be loaded one by one. Only data that cannot be random are tensors:
    tuples, a TensorDataset, Subsets and ConcatDatasets of those, and other data sets if Task.cache is True. A collate function
    needs single samples."""
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
