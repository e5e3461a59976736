"""Measure the size of samples of any type, rank those of a task once per sweep, and load chosen ones as a batch.

Only a few numbers of each sample are kept, never the sample itself.
"""

from __future__ import annotations

import dataclasses
import math
import time
from array import array
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probe.batch.records import Split
from probe.batch.sample_ranking import TOTAL, Column, Indices, SampleRanking, is_length, rank
from probe.errors import ProbeError, user_code_error
from probe.loading.batch import Batch
from probe.loading.caches import WeakMemo
from probe.loading.dataset import TensorData, as_tensors, is_unbounded, num_samples, samples_to_load
from probe.loading.epoch_batches import BatchCollate
from probe.loading.random_state import random_state_kept
from probe.loading.trees import map_tensors, tensors_of
from probe.seeds import derive_seed
from probe.task import Task

INTEGER_TYPES = (torch.bool, torch.int16, torch.int32, torch.int64)
"""Types of token ids, masks and lengths. Bytes are excluded, since they are usually images."""
_MAX_DEPTH = 8
_NUMBER_BYTES = 8


@dataclass(slots=True)
class SampleSize:
    """Measures of one sample by path, like `[0].length` or `['boxes'].shape[0]`. Those of all items of a list are summed under
    one path."""

    measures: dict[str, float] = field(default_factory=lambda: {TOTAL: 0.0})
    values: dict[str, float] = field(default_factory=dict)
    """Single integers, which may be lengths or class labels."""
    extent: int = 0
    """Largest dimension of a tensor, or length of a list."""
    unmeasured: set[str] = field(default_factory=set)

    def add(self, tree: Any, path: str = "", depth: int = _MAX_DEPTH) -> None:
        """Measure everything in `tree`."""
        if isinstance(tree, (str, bytes)):
            self._add_length(path, len(tree), len(tree))
        elif isinstance(tree, (Tensor, np.ndarray, np.generic)):
            self._add_array(tree, path, depth)
        elif tree is None or isinstance(tree, (int, float)):
            self.measures[TOTAL] += _NUMBER_BYTES
            if isinstance(tree, int):
                self._add_value(path, tree)
        elif depth == 0:
            self.unmeasured.add(type(tree).__name__)
        elif isinstance(tree, Mapping):
            for key, item in tree.items():
                self.add(item, f"{path}[{key!r}]", depth - 1)
        elif isinstance(tree, tuple):
            for number, item in enumerate(tree):
                self.add(item, f"{path}[{number}]", depth - 1)
        elif callable(getattr(tree, "to", None)):
            for number, tensor in enumerate(tensors_of(tree)):
                self.add(tensor, f"{path}[{number}]", depth - 1)
        elif isinstance(tree, Collection):
            self._add_list(tree, path, depth)
        else:
            self._add_object(tree, path, depth)

    def _add_array(self, array: Any, path: str, depth: int) -> None:
        if isinstance(array, Tensor):
            if array.layout is not torch.strided:
                array = array.coalesce().values() if array.is_sparse else array.values()
            shape, num_bytes = tuple(array.shape), array.numel() * array.element_size()
            is_integer = array.dtype in INTEGER_TYPES
        elif array.dtype.kind not in "biufc":  # strings or objects
            self.add(array.tolist(), path, depth - 1)
            return
        else:
            shape, num_bytes = array.shape, array.nbytes
            is_integer = array.dtype.kind == "b" or (array.dtype.kind in "iu" and array.itemsize > 1)
        self._add_length(path, math.prod(shape), num_bytes)
        for number, extent in enumerate(shape):
            self.extent = max(self.extent, extent)
            if len(shape) > 1:
                name = f"{path}.shape[{number}]"
                self.measures[name] = max(self.measures.get(name, 0.0), extent)
        if is_integer and shape:
            count = torch.count_nonzero if isinstance(array, Tensor) else np.count_nonzero
            self._add(f"{path}.non-zero", int(count(array)))
        elif is_integer:
            self._add_value(path, int(array))

    def _add_list(self, items: Collection[Any], path: str, depth: int) -> None:
        first = next(iter(items), None)
        is_flat = isinstance(first, (int, float, np.generic))
        self._add_length(path, len(items), _NUMBER_BYTES * len(items) if is_flat else 0)
        self.extent = max(self.extent, len(items))
        if is_flat and not isinstance(first, float):
            self._add(f"{path}.non-zero", sum(map(bool, items)))
        if not is_flat:
            for item in items:
                self.add(item, f"{path}[*]", depth - 1)

    def _add_object(self, thing: Any, path: str, depth: int) -> None:
        extents = getattr(thing, "size", None)
        if isinstance(extents, tuple) and extents and all(isinstance(extent, int) for extent in extents):
            self._add_length(path, math.prod(extents), math.prod(extents))  # a PIL image
            return
        is_dataclass = dataclasses.is_dataclass(thing)
        names = [each.name for each in dataclasses.fields(thing)] if is_dataclass else getattr(thing, "__dict__", ())
        if not names:
            self.unmeasured.add(type(thing).__name__)
        for name in names:
            self.add(getattr(thing, name), f"{path}.{name}", depth - 1)

    def _add_length(self, path: str, length: int, num_bytes: int) -> None:
        self._add(f"{path}.length", length)
        self.measures[TOTAL] += num_bytes

    def _add_value(self, path: str, value: int) -> None:
        self.values[path] = max(self.values.get(path, value), value)

    def _add(self, name: str, amount: int) -> None:
        self.measures[name] = self.measures.get(name, 0.0) + amount


MAX_SECONDS = 3.0
"""Time limit for measuring the samples of one split, which are read in random order."""
NUM_PILOT_SAMPLES = 64
"""Samples that are always read. If they have the same size and no collate function pads them, no more are read."""
MAX_ELEMENTS = 2**27
"""Number of integers in tensors that are searched. If there are more, only every second, third, ... sample is measured."""


def rank_samples(task: Task, *, seed: int, max_seconds: float = MAX_SECONDS) -> tuple[SampleRanking, ...]:
    """Rank the samples of the training split and, if the task has one, of the validation split. Each sample is read at most
    once, and none of tensors in memory. Raises UserCodeError if one cannot be read."""
    with random_state_kept(torch.device("cpu")):
        rankings = [_rank_split(task, "train", task.train, seed, max_seconds)]
        if task.val is not None:
            rankings.append(_rank_split(task, "val", task.val, seed, max_seconds))
    return tuple(rankings)


def load_batch(task: Task, data: Any, indices: Indices) -> Batch:
    """Load the samples of `data` with these indices as one batch on the CPU."""
    tensors = as_tensors(data, task)
    if tensors is None:
        samples = samples_to_load(data, task)
        return BatchCollate(task.collate)([samples[int(index)] for index in indices])
    rows = torch.from_numpy(tensors.indices[indices])
    # A task's tensors may be on a GPU.
    return Batch(map_tensors(lambda all: all.index_select(0, rows.to(all.device)).cpu(), tensors.tensors), len(rows))


def _rank_split(task: Task, split: Split, data: Any, seed: int, max_seconds: float) -> SampleRanking:
    available = num_samples(data)
    if is_unbounded(data):
        return rank(split, {}, measured=np.arange(0), num_samples=available)
    tensors = as_tensors(data, task)
    if tensors is not None:
        return _rank_tensors(split, tensors)
    is_collated = task.collate is not None
    return _rankings.get(
        [data], split, seed, is_collated, max_seconds, make=lambda: _rank_loaded(task, split, data, seed, max_seconds)
    )


_rankings: WeakMemo[SampleRanking] = WeakMemo()
"""Rankings of data sets, so that predictions for several variants of a task read its samples once."""


def _rank_loaded(task: Task, split: Split, data: Any, seed: int, max_seconds: float) -> SampleRanking:
    samples = samples_to_load(data, task)
    order = np.random.default_rng(derive_seed(seed, "sizes")).permutation(num_samples(data))
    sizes = _Sizes()
    deadline = time.perf_counter() + max_seconds
    for position, index in enumerate(order):
        is_pilot = position < NUM_PILOT_SAMPLES
        if position == NUM_PILOT_SAMPLES and task.collate is None and not sizes.rank(split, order).orders:
            break
        if not is_pilot and time.perf_counter() > deadline:
            break
        sizes.add(_read(samples, int(index)))
    return sizes.rank(split, order)


def _read(data: Any, index: int) -> Any:
    try:
        return data[index]
    except ProbeError:
        raise
    except Exception as error:
        what = f"Sample {index} of {type(data).__name__} cannot be read: {type(error).__name__}: {error}"
        bug = user_code_error(what, error)
    raise bug  # outside of the handler, so that `error` does not become its context


def _rank_tensors(split: Split, data: TensorData) -> SampleRanking:
    """Rank samples of one shape, which differ in their non-zero entries and in lengths stored with them."""
    tensors = list(tensors_of(data.tensors))
    num_elements = sum(tensor.numel() for tensor in tensors if tensor.dtype in INTEGER_TYPES)
    measured = np.arange(0, len(data), 1 + num_elements // MAX_ELEMENTS)
    rows = torch.from_numpy(data.indices[measured])
    extent = max((max(tensor.shape[1:], default=0) for tensor in tensors), default=0)
    columns: dict[str, Column] = {}
    for number, tensor in enumerate(tensors):
        if tensor.dtype not in INTEGER_TYPES:
            continue
        held = tensor.detach().cpu().index_select(0, rows)
        if held.dim() > 1:
            counts = held.flatten(1).count_nonzero(dim=1)
            columns[f"[{number}].non-zero"] = counts.numpy().astype(np.float64)
        else:
            columns |= _if_lengths(f"[{number}].value", held.numpy().astype(np.float64), extent)
    return rank(split, columns, measured=measured, num_samples=len(data))


def _if_lengths(name: str, values: Column, extent: float) -> dict[str, Column]:
    return {name: values} if is_length(values, extent) else {}


class _Sizes:
    """Measures of many samples: one column per measure, with zeros for samples without it."""

    def __init__(self) -> None:
        self._num_samples = 0
        self._measures: dict[str, array[float]] = {}
        self._values: dict[str, array[float]] = {}
        self._extent = 0
        self._unmeasured: set[str] = set()

    def add(self, sample: Any) -> None:
        size = SampleSize()
        size.add(sample)
        for columns, found in ((self._measures, size.measures), (self._values, size.values)):
            for name, value in found.items():
                column = columns.setdefault(name, array("d"))
                column.extend(repeat(0.0, self._num_samples - len(column)))
                column.append(value)
        self._num_samples += 1
        self._extent = max(self._extent, size.extent)
        self._unmeasured |= size.unmeasured

    def rank(self, split: Split, order: Indices) -> SampleRanking:
        """Rank the samples added so far, which are the first ones of `order`."""
        columns = {name: self._padded(column) for name, column in self._measures.items()}
        for name, values in self._values.items():
            columns |= _if_lengths(f"{name}.value", self._padded(values), self._extent)
        return rank(
            split,
            columns,
            measured=order[: self._num_samples],
            num_samples=len(order),
            unmeasured=tuple(sorted(self._unmeasured)),
        )

    def _padded(self, column: array[float]) -> Column:
        padded = np.zeros(self._num_samples)
        padded[: len(column)] = column
        return padded
