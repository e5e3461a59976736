"""Batches are pytrees: tensors in any nesting of tuples, lists and dicts. These few functions see through the nesting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def map_tensors(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """`tree` with every tensor replaced by `function(tensor)`; anything that is neither tensor nor container stays."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {key: map_tensors(function, item) for key, item in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(map_tensors(function, item) for item in tree))
    if isinstance(tree, (tuple, list)):
        return type(tree)(map_tensors(function, item) for item in tree)
    return tree


def tensors_of(tree: Any) -> Iterator[Tensor]:
    """Every tensor of `tree`, depth first."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for item in tree.values():
            yield from tensors_of(item)
    elif isinstance(tree, (tuple, list)):
        for item in tree:
            yield from tensors_of(item)


def batch_length(tree: Any) -> int:
    """The first dimension of the first tensor that has one: the number of samples of a batch. 1 where there is none."""
    return next((len(tensor) for tensor in tensors_of(tree) if tensor.dim() > 0), 1)


def num_bytes(tree: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_of(tree))


def concatenate(trees: Sequence[Any]) -> Any:
    """Equal trees joined tensor by tensor along the first dimension; tensors without dimensions are stacked."""
    first = trees[0]
    if isinstance(first, Tensor):
        return torch.cat(list(trees)) if first.dim() > 0 else torch.stack(list(trees))
    if isinstance(first, Mapping):
        return {key: concatenate([tree[key] for tree in trees]) for key in first}
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(concatenate(list(items)) for items in zip(*trees, strict=True)))
    if isinstance(first, (tuple, list)):
        return type(first)(concatenate(list(items)) for items in zip(*trees, strict=True))
    return list(trees)
