"""Batches to trace a training step with: read where they are small, stretched from smaller ones where they are large."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from probe.batch.samples.costly_batches import load_batch
from probe.batch.samples.ranking import SampleRanking
from probe.loading.batch import Batch
from probe.loading.dataset import as_tensors
from probe.loading.trees import map_tensors, num_bytes, tensors_of
from probe.task import Task

MAX_READ_BYTES = 64 * 2**20
"""Larger batches are not read, and values of larger tensors are not looked at."""
MAX_READ_SAMPLES = 512
"""Of data that is not in tensors: reading a sample may take long."""
_SMALL = 8


class UnstretchableError(Exception):
    """A batch has something in it of which no larger one can be made. The text says what."""


class TracedBatches:
    """Batches of any size of one part of a task's data. What they hold is real up to MAX_READ_BYTES; larger ones repeat
    samples, or have shapes only."""

    def __init__(self, task: Task, data: Any, ranking: SampleRanking) -> None:
        self._task = task
        self._data = data
        self._ranking = ranking
        self._is_in_tensors = as_tensors(data, task) is not None
        self._read: dict[int, Batch] = {}

    def of(self, size: int) -> Batch:
        """Tensors without data are on the meta device. Raises DataError for data that cannot be read, UnstretchableError."""
        sample_bytes = max(self._real(_SMALL).num_bytes // _SMALL, 1)
        most = max(MAX_READ_BYTES // sample_bytes, _SMALL)
        if not self._is_in_tensors:
            most = min(most, MAX_READ_SAMPLES)
        if size <= most:
            return self._real(size)
        base = 1 << (most.bit_length() - 1)
        return stretched(self._real(base // 2), self._real(base), size)

    def _real(self, size: int) -> Batch:
        if size not in self._read:
            self._read[size] = load_batch(self._task, self._data, self._ranking.costliest(size)[0])
        return self._read[size]


def stretched(half: Batch, whole: Batch, size: int) -> Batch:
    """A batch of `size` samples like `whole`: what grew from `half`, which has half as many samples, goes on growing.

    Raises UnstretchableError.
    """

    def grown(small: int, large: int) -> int:
        return large + (large - small) * 2 * (size - whole.num_samples) // whole.num_samples

    def stretch(small: Any, large: Any) -> Any:
        if isinstance(large, Tensor):
            return _stretched_tensor(large, [grown(*sides) for sides in zip(small.shape, large.shape, strict=True)])
        if type(large) is dict:
            return {key: stretch(small[key], item) for key, item in large.items()}
        if isinstance(large, tuple) and hasattr(large, "_fields"):
            return type(large)(*map(stretch, small, large))
        if isinstance(large, (tuple, list)):
            items = [stretch(one, other) for one, other in zip(small, large, strict=False)]
            items += large[len(items) :]
            return type(large)(items[index % len(items)] for index in range(grown(len(small), len(large))))
        if isinstance(large, int) and not isinstance(large, bool):
            return grown(small, large)
        if large is None or isinstance(large, (str, bytes, bool, float)):
            return large
        pairs = list(zip_longest(tensors_of(small), tensors_of(large)))
        if not pairs or any(None in pair for pair in pairs):
            raise UnstretchableError(f"a batch holds a {type(large).__name__}")
        tensors = iter([stretch(*pair) for pair in pairs])
        return map_tensors(lambda _: next(tensors), large)

    return Batch(stretch(half.content, whole.content), size)


def _stretched_tensor(tensor: Tensor, shape: list[int]) -> Tensor:
    """Of that shape, its values repeated; without values where they would be too many."""
    if list(tensor.shape) == shape:
        return tensor
    made = torch.empty(shape, dtype=tensor.dtype, device="meta")
    if num_bytes(made) > MAX_READ_BYTES or 0 in tensor.shape:
        return made
    for dim, length in enumerate(shape):
        if length != tensor.shape[dim]:
            tensor = tensor.index_select(dim, torch.arange(length) % tensor.shape[dim])
    return tensor
