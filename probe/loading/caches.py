"""Caches of a process: values derived from objects, and the samples of Task.cache, which are read once and kept as rows of
tensors or, for a collate function, in a list."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from probe.errors import DataError, TaskError
from probe.loading.batch import stack_samples
from probe.loading.trees import map_tensors, num_bytes, tensors_of
from probe.system.host_memory import free_memory_bytes
from probe.units import format_bytes

Value = TypeVar("Value")
Indices = np.ndarray[Any, np.dtype[np.int64]]


class WeakMemo(Generic[Value]):
    """Keys are objects, compared by identity, and hashable options. A value must not refer to the objects of its key."""

    def __init__(self) -> None:
        self._held: dict[tuple[Hashable, ...], tuple[list[weakref.ref[Any]], Value]] = {}

    def find(self, objects: Sequence[Any], *options: Hashable) -> Value | None:
        """The value for these objects and options; None if there is none yet."""
        refs, value = self._held.get(_key(objects, options), ([], None))
        is_current = value is not None and all(ref() is held for ref, held in zip(refs, objects, strict=True))
        return value if is_current else None

    def get(self, objects: Sequence[Any], *options: Hashable, make: Callable[[], Value]) -> Value:
        """The value for these objects and options, created by `make` if there is none yet. For objects without weak references,
        such as lists, it is created every time."""
        value = self.find(objects, *options)
        if value is not None:
            return value
        key = _key(objects, options)
        value = make()
        try:
            refs = [weakref.ref(held, lambda _: self._held.pop(key, None)) for held in objects]
        except TypeError:
            return value
        self._held[key] = (refs, value)
        return value


def _key(objects: Sequence[Any], options: tuple[Hashable, ...]) -> tuple[Hashable, ...]:
    return (*(id(held) for held in objects), *options)


_SAMPLES_PER_READ = 1024


class SampleCache:
    """Samples of one data set, in the order in which they were read."""

    def __init__(self, num_samples: int, *, stacked: bool) -> None:
        self.content: Any = None
        """If stacked, a batch of PyTorch's default_collate; otherwise a list of samples."""
        self.rows: Indices = np.full(num_samples, -1, dtype=np.int64)
        """Position of each sample in `content`, -1 if it was not read; shape (samples of the data set,)."""
        self._stacked = stacked
        self._count = 0

    def read(self, data: Any, wanted: Indices) -> None:
        """Read the samples `wanted` of `data` that are missing. Raises DataError if they do not fit into memory, TaskError if
        they cannot be stacked."""
        missing = np.unique(wanted[self.rows[wanted] < 0])
        if len(missing) == 0:
            return
        self.content = self._stacked_with(data, missing) if self._stacked else self._listed_with(data, missing)
        self.rows[missing] = np.arange(self._count, self._count + len(missing))
        self._count += len(missing)

    def _listed_with(self, data: Any, missing: Indices) -> list[Any]:
        return [*(self.content or ()), *(sample for piece in _pieces(data, missing) for sample in piece)]

    def _stacked_with(self, data: Any, missing: Indices) -> Any:
        """`content` and the missing samples, in tensors that are allocated once and filled piece by piece."""
        total, filled = self._count + len(missing), self._count
        grown: Any = None
        for samples in _pieces(data, missing):
            piece = _collated(data, samples)
            if grown is None:
                _check_tensors(data, piece)
                grown = map_tensors(lambda rows: torch.empty((total, *rows.shape[1:]), dtype=rows.dtype), piece)
                if self.content is not None:
                    _fill(data, grown, 0, self.content)
            _fill(data, grown, filled, piece)
            filled += len(samples)
        return grown


_caches: WeakMemo[SampleCache] = WeakMemo()


def cache_of(data: Any, *, stacked: bool) -> SampleCache:
    """This process's cache for `data`, which must not be a Subset or ConcatDataset."""
    return _caches.get([data], stacked, make=lambda: SampleCache(len(data), stacked=stacked))


def _pieces(data: Any, indices: Indices) -> Iterator[list[Any]]:
    """The samples with these indices, in pieces."""
    for start in range(0, len(indices), _SAMPLES_PER_READ):
        piece = _read(data, indices[start : start + _SAMPLES_PER_READ].tolist())
        if start == 0:
            _check_memory(data, piece, len(indices))
        yield piece


def _read(data: Any, indices: list[int]) -> list[Any]:
    read_many: Callable[[list[int]], list[Any]] | None = getattr(data, "__getitems__", None)
    return [data[index] for index in indices] if read_many is None else list(read_many(indices))


def _check_memory(data: Any, piece: list[Any], count: int) -> None:
    needed_bytes, free_bytes = num_bytes(piece) * count // len(piece), free_memory_bytes()
    if needed_bytes > free_bytes:
        raise DataError(
            f"Task.cache is True, but {count:,} samples of {type(data).__name__} need about "
            f"{format_bytes(needed_bytes)} of memory, and only {format_bytes(free_bytes)} are free.",
            hint="Remove cache=True; samples are then read whenever they are needed.",
        )


def _collated(data: Any, samples: list[Any]) -> Any:
    try:
        return stack_samples(samples)
    except ValueError as error:
        raise _not_alike(data, str(error)) from error


def _fill(data: Any, grown: Any, start: int, piece: Any) -> None:
    whole, parts = list(tensors_of(grown)), list(tensors_of(piece))
    if [(t.shape[1:], t.dtype) for t in whole] != [(t.shape[1:], t.dtype) for t in parts]:
        raise _not_alike(data, f"{_kinds(whole)} and {_kinds(parts)}")
    for rows, part in zip(whole, parts, strict=True):
        rows[start : start + len(part)] = part


def _kinds(tensors: list[Tensor]) -> str:
    return ", ".join(f"{tuple(tensor.shape[1:])} of {tensor.dtype}" for tensor in tensors)


def _check_tensors(data: Any, tree: Any) -> None:
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    if isinstance(tree, (tuple, list)):
        for item in tree:
            _check_tensors(data, item)
    elif not isinstance(tree, Tensor):
        raise _not_alike(data, f"they contain a {type(tree).__name__}, which is not a tensor, array or number")


def _not_alike(data: Any, what: str) -> TaskError:
    return TaskError(
        f"Task.cache is True, but the samples of {type(data).__name__} cannot be stacked as tensors: {what}.",
        hint="Give the samples the same shape, give the Task a collate function, or remove cache=True.",
    )
