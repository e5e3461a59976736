"""Rank the samples of a task by size, once per sweep, and load chosen samples as a batch.

Only a few numbers of each sample are kept, never the sample itself.
"""

from __future__ import annotations

import time
from array import array
from itertools import repeat
from typing import Any

import numpy as np
import torch

from probe.batch.records import Split
from probe.batch.samples.ranking import Column, Indices, SampleRanking, is_length, rank
from probe.batch.samples.sample_size import INTEGER_TYPES, SampleSize
from probe.errors import ProbeError, user_code_error
from probe.loading.batch import Batch
from probe.loading.dataset import TensorData, as_tensors, is_unbounded, num_samples, samples_to_load
from probe.loading.epoch_batches import BatchCollate
from probe.loading.random_state import random_state_kept
from probe.loading.trees import map_tensors, tensors_of
from probe.loading.weak_memo import WeakMemo
from probe.seeds import derive_seed
from probe.task import Task

MAX_SECONDS = 3.0
"""Time limit for measuring the samples of one split, which are read in random order."""
NUM_PILOT_SAMPLES = 64
"""Samples that are always read. If they have the same size and no collate function pads them, no more are read."""
MAX_ELEMENTS = 2**27
"""Number of integers in tensors that are searched. If there are more, only every second, third, ... sample is measured."""


def rank_samples(task: Task, *, seed: int, max_seconds: float = MAX_SECONDS) -> tuple[SampleRanking, ...]:
    """Rank the samples of the training split and, if the task has one, of the validation split.

    Each sample is read at most once; tensors in memory are measured without reading samples.

    Raises:
        UserCodeError: a sample cannot be read.
    """
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
    return Batch(map_tensors(lambda tensor: tensor.index_select(0, rows), tensors.tensors), len(rows))


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
