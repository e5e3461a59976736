"""Functions on trees of tensors (nested containers, dataclasses, objects with `to(device)`): map, slice, join, split."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from probe.errors import TaskError

_CPU = torch.device("cpu")


def map_tensors(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """Replace every tensor in `tree` by `function(tensor)`. Containers keep their type; other values do not change. An object
    with a method `to` is moved by a shallow copy's `to`. Raises TaskError for other objects that hold tensors."""
    if isinstance(tree, Tensor):
        return function(tree)
    if type(tree) is tuple or type(tree) is list:  # most batches; they are mapped in every step
        return type(tree)([map_tensors(function, item) for item in tree])
    if tree is None or isinstance(tree, (str, bytes, int, float)):
        return tree
    if _moves_itself(tree):
        with _InPlaceOfTo(function):
            return copy.copy(tree).to(_CPU)
    children = _children(tree)
    if children is not None:
        return _like(tree, {key: map_tensors(function, item) for key, item in children.items()})
    _refuse_hidden_tensors(tree)
    return tree


def tensors_of(tree: Any) -> Iterator[Tensor]:
    """All tensors of `tree`, depth first. Raises TaskError like `map_tensors`."""
    if isinstance(tree, Tensor):
        yield tree
    elif type(tree) in (tuple, list):
        for item in tree:
            yield from tensors_of(item)
    elif type(tree) is dict:
        for item in tree.values():
            yield from tensors_of(item)
    else:
        found: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            found.append(tensor)
            return tensor

        map_tensors(keep, tree)
        yield from found


def num_bytes(tree: Any) -> int:
    """Memory of all tensors of `tree` in bytes."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_of(tree))


def slice_samples(tree: Any, num_samples: int, start: int, stop: int) -> Any:
    """Samples `start` to `stop` of a tree whose tensors have `num_samples` rows. A list with one entry for each sample, like
    the images of a detector, is sliced itself. Raises TaskError if neither is the case."""
    if isinstance(tree, Tensor):
        if not _has_rows(tree, num_samples):
            raise _cannot_split(tree, num_samples)
        return tree[start:stop]
    if tree is None or isinstance(tree, (str, bytes, int, float)):
        return tree
    children = _children(tree)
    # A mapping may also have a method `to`, like the BatchEncoding of transformers.
    if children is None or (_moves_itself(tree) and not isinstance(tree, Mapping)):
        raise _cannot_split(tree, num_samples)
    if isinstance(tree, (list, tuple)) and len(tree) == num_samples and not _has_rows(tree, num_samples):
        return tree[start:stop]
    return _like(tree, {key: slice_samples(item, num_samples, start, stop) for key, item in children.items()})


def _has_rows(tree: Any, num_samples: int) -> bool:
    tensors = list(tensors_of(tree))
    return bool(tensors) and all(tensor.dim() > 0 and len(tensor) == num_samples for tensor in tensors)


class _InPlaceOfTo(TorchFunctionMode):
    """A mode in which `tensor.to(...)` returns `function(tensor)`."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self._function = function

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is Tensor.to:
            return self._function(args[0])
        return func(*args, **(kwargs or {}))


def _moves_itself(tree: Any) -> bool:
    return callable(getattr(tree, "to", None)) and not isinstance(tree, (type, Tensor))


def like_mapping(tree: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    """A mapping of the type of `tree` with these items."""
    if type(tree) is dict:
        return items
    try:
        made: Any = copy.copy(tree)
        for key, item in items.items():
            made[key] = item
    except TypeError:  # read-only mappings
        return items
    return made


def _refuse_hidden_tensors(tree: Any) -> None:
    held = getattr(tree, "__dict__", None)
    if isinstance(tree, type) or callable(tree) or not held:
        return
    name = next((name for name, item in held.items() if isinstance(item, Tensor)), None)
    if name is not None:
        kind = type(tree).__name__
        raise TaskError(
            f"A {kind} holds tensors (.{name}) that cannot be moved to a device.",
            hint=f"Give {kind} a method to(device) that returns the moved object, or use a dataclass or a dict.",
        )


def _cannot_split(tree: Any, num_samples: int) -> TaskError:
    what = f"a tensor of shape {tuple(tree.shape)}" if isinstance(tree, Tensor) else f"a {type(tree).__name__}"
    return TaskError(
        f"A batch of {num_samples} samples cannot be split: {what} does not have one row for each sample.",
        hint="Gradient accumulation needs tensors, or lists, with one entry for each sample.",
    )


_SHARED = (str, bytes, int, float, type(None))
"""Types of values that all samples of a batch share."""


def join_batches(trees: Sequence[Any], sizes: Sequence[int]) -> Any:
    """Concatenate trees of equal structure along the first dimension of their tensors, which is their size, and along lists
    with one entry for each sample. Raises ValueError if shapes, types or structures differ."""
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
    """Split batches into samples: each is a container of the same structure with the sample's rows. Raises TaskError, about
    data called `name`, if that is impossible."""
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
    """Whether the trees are lists with one entry for each sample, like the images of a detector. Lists of tensors that all have
    one row for each sample are outputs instead."""
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
    made = copy.copy(tree)
    for name, value in children.items():
        object.__setattr__(made, name, value)  # a dataclass may be frozen
    return made


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
