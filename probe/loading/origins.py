"""Resolves PyTorch's Subset and ConcatDataset to the data sets that hold the samples, without reading any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset, Subset, TensorDataset

Indices = np.ndarray[Any, np.dtype[np.int64]]


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
    """Origins of a map-style data set or a tuple of tensors.

    A subclass that overrides how samples are read, such as a Subset that transforms them, is not resolved.
    """
    if reads_as(data, Subset):
        inner = origins_of(data.dataset)
        chosen = np.asarray(data.indices, dtype=np.int64)
        return Origins(inner.bases, inner.base_of[chosen], inner.index[chosen])
    if reads_as(data, ConcatDataset):
        return _joined([origins_of(part) for part in data.datasets])
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


def _joined(parts: list[Origins]) -> Origins:
    bases: list[Any] = []
    numbers = []
    for part in parts:
        for base in part.bases:
            if all(base is not other for other in bases):
                bases.append(base)
        places = np.array([next(n for n, other in enumerate(bases) if other is base) for base in part.bases])
        numbers.append(places[part.base_of])
    return Origins(tuple(bases), np.concatenate(numbers), np.concatenate([part.index for part in parts]))
