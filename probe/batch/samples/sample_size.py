"""Measure the size of one sample of any type: tensors, arrays, strings, lists, mappings, images, graphs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probe.batch.samples.ranking import TOTAL
from probe.loading.trees import tensors_of

INTEGER_TYPES = (torch.bool, torch.int16, torch.int32, torch.int64)
"""Types of token ids, masks and lengths. Bytes are excluded, since they are usually images."""
_MAX_DEPTH = 8
_NUMBER_BYTES = 8


@dataclass(slots=True)
class SampleSize:
    """Measures of one sample by path, like `[0].length` or `['boxes'].shape[0]`.

    The measures of all items of a list are summed under one path.
    """

    measures: dict[str, float] = field(default_factory=lambda: {TOTAL: 0.0})
    values: dict[str, float] = field(default_factory=dict)
    """Single integers, which may be lengths or class labels."""
    extent: int = 0
    """Largest dimension of a tensor, or length of a list."""
    unmeasured: set[str] = field(default_factory=set)
    """Names of types whose size is unknown."""

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
