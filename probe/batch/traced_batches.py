"""Batches to trace a training step with: read where they are small, stretched from smaller ones where they are large."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from probe.batch.samples import sample_batches
from probe.task import Task
from probe.training.data import as_tensors
from probe.training.trees import num_bytes

MAX_READ_BYTES = 64 * 2**20
"""Larger batches are not read, and values of larger tensors are not looked at."""
MAX_READ_SAMPLES = 512
"""Of data that is not in tensors: reading a sample may take long."""
_SMALL = 8


class UnstretchableError(Exception):
    """A batch has something in it of which no larger one can be made. The text says what."""


class TracedBatches:
    """Batches of any size. What they hold is real up to MAX_READ_BYTES; larger ones repeat samples, or have shapes only."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._is_in_tensors = as_tensors(task.train, task) is not None
        self._read: dict[int, Any] = {}

    def of(self, size: int) -> Any:
        """Tensors without data are on the meta device. Raises DataError for data that cannot be read, UnstretchableError."""
        sample_bytes = max(num_bytes(self._real(_SMALL)) // _SMALL, 1)
        most = max(MAX_READ_BYTES // sample_bytes, _SMALL)
        if not self._is_in_tensors:
            most = min(most, MAX_READ_SAMPLES)
        if size <= most:
            return self._real(size)
        base = 1 << (most.bit_length() - 1)
        return stretched(self._real(base // 2), self._real(base), base, size)

    def _real(self, size: int) -> Any:
        if size not in self._read:
            self._read[size] = sample_batches(self._task, [size])[size]
        return self._read[size]


def stretched(half: Any, whole: Any, whole_size: int, size: int) -> Any:
    """A batch of `size` samples like `whole`, which has `whole_size`: what grew from `half` to `whole`, of which one has half
    as many samples as the other, goes on growing. Raises UnstretchableError."""

    def grown(small: int, large: int) -> int:
        return large + (large - small) * 2 * (size - whole_size) // whole_size

    def stretch(small: Any, large: Any) -> Any:
        if isinstance(large, Tensor):
            return _stretched_tensor(large, [grown(*sides) for sides in zip(small.shape, large.shape, strict=True)])
        if isinstance(large, Mapping):
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
        raise UnstretchableError(f"a batch holds a {type(large).__name__}")

    return stretch(half, whole)


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
