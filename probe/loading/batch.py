"""The one rule for what a batch is: any nesting of containers and tensors, and the number of its samples."""

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
    """Samples that are trained on together.

    `content` is what the task's forward pass sees: tensors in tuples, lists, mappings and dataclasses, and objects with a
    method `to(device)`, like PyTorch Geometric's graphs or the `BatchEncoding` of transformers.
    """

    content: Any
    num_samples: int
    """Counted where the samples were collated: shapes do not tell it for lists of images or for graphs."""

    @property
    def targets(self) -> Any:
        """The last item of a tuple or list; all of the content otherwise."""
        return self.content[-1] if isinstance(self.content, (tuple, list)) else self.content

    @property
    def num_bytes(self) -> int:
        """Memory of all tensors."""
        return num_bytes(self.content)

    def map(self, function: Callable[[Tensor], Any]) -> Batch:
        """This batch with every tensor replaced by `function(tensor)`. Raises TaskError for content that cannot be mapped."""
        return replace(self, content=map_tensors(function, self.content))

    def to(self, device: torch.device, *, copy: bool = False) -> Batch:
        """This batch on `device`. The host does not wait for a copy to a GPU.

        Args:
            copy: copy tensors that are on `device` already, too, so that they count as memory of a simulated device.
        """
        if device.type == "cpu":
            return self.map(lambda tensor: tensor.to(device, copy=copy))
        return self.map(lambda tensor: _pinned(tensor).to(device, non_blocking=True, copy=copy))

    def split(self, edges: list[int]) -> Iterator[Batch]:
        """Micro-batches of the samples between each edge and the next. Raises TaskError where samples cannot be told apart."""
        for start, stop in pairwise(edges):
            yield Batch(self._samples(start, stop), stop - start)

    def _samples(self, start: int, stop: int) -> Any:
        content, size = self.content, self.num_samples
        if type(content) is tuple:  # of parts, like (inputs, targets), also where there are as many parts as samples
            return tuple(slice_samples(item, size, start, stop) for item in content)
        return slice_samples(content, size, start, stop)


def stack_samples(samples: list[Any]) -> Any:
    """PyTorch's default_collate. Raises ValueError with the reason where samples have other types or different shapes."""
    try:
        return default_collate(samples)
    except (TypeError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        if isinstance(error, RuntimeError) and "equal size" not in reason:
            raise  # not about these samples: the host may be out of memory
        raise ValueError(reason) from error


def checked_content(content: Any, *, returned_by: str) -> Any:
    """`content` if it holds a tensor. Raises TaskError otherwise."""
    found: list[Tensor] = []
    map_tensors(found.append, content)
    if not found:
        raise TaskError(
            f"{returned_by} must return a batch, but returned {type(content).__name__}.",
            hint="End it with: return (inputs, targets)",
        )
    return content


def _pinned(tensor: Tensor) -> Tensor:
    """A dense tensor of the host in page-locked memory, so that copying it to a GPU does not block; others as they are."""
    is_dense = tensor.device.type == "cpu" and tensor.layout is torch.strided
    return tensor.pin_memory() if is_dense else tensor
