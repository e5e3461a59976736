"""Batches: any nesting of containers and tensors, with the number of samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from probe.errors import TaskError
from probe.loading.trees import map_tensors, num_bytes, slice_samples


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples that are trained on together. `content` is the input of the task's forward pass: tensors in tuples, lists,
    mappings and dataclasses, and objects with a method `to(device)`, like PyTorch Geometric's graphs or the `BatchEncoding` of
    transformers."""

    content: Any
    num_samples: int
    """Number of samples before collating. Shapes do not show it for lists of images or for graphs."""

    @property
    def targets(self) -> Any:
        """The last item of a tuple or list; other content as a whole."""
        return self.content[-1] if isinstance(self.content, (tuple, list)) else self.content

    @property
    def num_bytes(self) -> int:
        """Memory of all tensors in bytes."""
        return num_bytes(self.content)

    def map(self, function: Callable[[Tensor], Any]) -> Batch:
        """Replace every tensor by `function(tensor)`. Raises TaskError for content that cannot be mapped."""
        return replace(self, content=map_tensors(function, self.content))

    def to(self, device: torch.device, *, copy: bool = False) -> Batch:
        """Copy the batch to `device`; the host does not wait for a GPU. `copy` also copies tensors that are there, so that they
        count as memory of a simulated device."""
        if device.type == "cpu":
            return self.map(lambda tensor: tensor.to(device, copy=copy))
        return self.map(lambda tensor: _pinned(tensor).to(device, non_blocking=True, copy=copy))

    def pin_memory(self) -> Batch:
        """Pin the memory of all tensors on the host, as a DataLoader asks for."""
        return self.map(_pinned)

    def split(self, edges: list[int]) -> Iterator[Batch]:
        """Split into micro-batches at these edges. Raises TaskError if the content cannot be split into samples."""
        for start, stop in pairwise(edges):
            yield Batch(self._samples(start, stop), stop - start)

    def _samples(self, start: int, stop: int) -> Any:
        content, size = self.content, self.num_samples
        if type(content) is tuple:  # (inputs, targets), even if the tuple has as many items as samples
            return tuple(slice_samples(item, size, start, stop) for item in content)
        return slice_samples(content, size, start, stop)


def stack_samples(samples: list[Any]) -> Any:
    """PyTorch's default_collate. Raises ValueError with the reason if samples have unsupported types or different shapes."""
    try:
        return default_collate(samples)
    except (TypeError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        if isinstance(error, RuntimeError) and "equal size" not in reason:
            raise  # not caused by the samples; for example, out of host memory
        raise ValueError(reason) from error


def checked_content(content: Any, *, returned_by: str) -> Any:
    """Return `content` if it contains a tensor. Raises TaskError otherwise."""
    found: list[Tensor] = []
    map_tensors(found.append, content)
    if not found:
        raise TaskError(
            f"{returned_by} must return a batch with tensors, but returned {type(content).__name__}.",
            hint="Return (inputs, targets).",
        )
    return content


def _pinned(tensor: Tensor) -> Tensor:
    """Pin a dense tensor on the host, so that copying it to a GPU does not block. Returns other tensors unchanged."""
    is_dense = tensor.device.type == "cpu" and tensor.layout is torch.strided
    return tensor.pin_memory() if is_dense else tensor
