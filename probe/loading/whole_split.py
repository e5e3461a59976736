"""Joins the batches of a whole split along their samples, or splits them into samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from probe.errors import TaskError
from probe.loading.trees import like_dataclass, like_mapping

_SHARED = (str, bytes, int, float, type(None))
"""Types of values that all samples of a batch share."""


def join_batches(trees: Sequence[Any], sizes: Sequence[int]) -> Any:
    """Concatenate trees of tensors along the first dimension, and lists with one entry for each sample.

    Args:
        trees: containers of equal structure.
        sizes: number of samples of each tree, which is the first dimension of its tensors.

    Raises:
        ValueError: shapes, types or structures differ between batches.
    """
    first = trees[0]
    if isinstance(first, Tensor):
        kinds = {(tree.shape[1:], tree.dtype) if isinstance(tree, Tensor) else None for tree in trees}
        if len(kinds) > 1 or not _have_rows(trees, sizes):
            raise ValueError("no rows of one shape and type")
        return torch.cat(list(trees)) if len(trees) > 1 else first
    if isinstance(first, _SHARED):
        if any(type(tree) is not type(first) or tree != first for tree in trees):
            raise ValueError("not the same in all batches")
        return first
    if _list_samples(trees, sizes):
        return [entry for tree in trees for entry in tree]
    columns = _columns(trees)
    if columns is None:
        raise ValueError("no containers of equal structure")
    return _like(first, {key: join_batches(column, sizes) for key, column in columns.items()})


def split_batches(trees: Sequence[Any], sizes: Sequence[int], name: str) -> list[Any]:
    """Split batches into samples: each is a container of the same structure with the sample's rows.

    Raises TaskError if that is impossible; `name` is the name of the data in its message.
    """
    if all(isinstance(tree, _SHARED) for tree in trees):
        return [tree for tree, size in zip(trees, sizes, strict=True) for _ in range(size)]
    if all(isinstance(tree, Tensor) for tree in trees) and _have_rows(trees, sizes):
        return [row for tree in trees for row in tree.unbind(0)]
    if _list_samples(trees, sizes):
        return [entry for tree in trees for entry in tree]
    columns = _columns(trees)
    if columns is None:
        raise _inseparable(trees, sizes, name)
    split = {key: split_batches(column, sizes, f"{name}[{key!r}]") for key, column in columns.items()}
    origins = [tree for tree, size in zip(trees, sizes, strict=True) for _ in range(size)]
    return [_like(tree, {key: column[row] for key, column in split.items()}) for row, tree in enumerate(origins)]


def _have_rows(trees: Sequence[Any], sizes: Sequence[int]) -> bool:
    return all(tree.dim() > 0 and len(tree) == size for tree, size in zip(trees, sizes, strict=True))


def _list_samples(trees: Sequence[Any], sizes: Sequence[int]) -> bool:
    """Whether the trees are lists with one entry for each sample, like the images of a detector.

    If all entries of all lists are tensors with one row for each sample, the lists are considered lists of outputs instead.
    """
    if not all(isinstance(tree, list) and len(tree) == size for tree, size in zip(trees, sizes, strict=True)):
        return False
    return not all(
        all(isinstance(entry, Tensor) for entry in tree) and _have_rows(tree, [size] * len(tree))
        for tree, size in zip(trees, sizes, strict=True)
    )


def _columns(trees: Sequence[Any]) -> dict[Any, list[Any]] | None:
    """Key -> values in all containers; None if these are not containers with equal keys."""
    children = [_children(tree) for tree in trees]
    first = children[0]
    if first is None or any(found is None or found.keys() != first.keys() for found in children):
        return None
    return {key: [found[key] for found in children if found is not None] for key in first}


def _children(tree: Any) -> dict[Any, Any] | None:
    if isinstance(tree, Mapping):
        return dict(tree)
    if isinstance(tree, (tuple, list)):
        return dict(enumerate(tree))
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
    return None


def _like(tree: Any, children: dict[Any, Any]) -> Any:
    """A container of the type of `tree` with these children."""
    if isinstance(tree, Mapping):
        return like_mapping(tree, children)
    if isinstance(tree, (tuple, list)):
        return type(tree)(*children.values()) if hasattr(tree, "_fields") else type(tree)(children.values())
    return like_dataclass(tree, children)


def _inseparable(trees: Sequence[Any], sizes: Sequence[int], name: str) -> TaskError:
    pairs = list(zip(trees, sizes, strict=True))
    tree, size = next(((tree, n) for tree, n in pairs if not hasattr(tree, "__len__") or _length(tree) != n), pairs[0])
    if isinstance(tree, Tensor):
        what = f"a tensor of shape {tuple(tree.shape)}"
    else:
        what = f"a {type(tree).__name__}" + (f" of {len(tree)}" if hasattr(tree, "__len__") else "")
    return TaskError(f"{name} is {what} for a batch of {size} samples, so it cannot be split into samples.")


def _length(tree: Any) -> int | None:
    return None if isinstance(tree, Tensor) and tree.dim() == 0 else len(tree)
