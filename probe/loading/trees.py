"""Functions on trees of tensors: nested containers, dataclasses and objects with `to(device)`."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from probe.errors import TaskError

_CPU = torch.device("cpu")


def map_tensors(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """Replace every tensor in `tree` by `function(tensor)`. Containers keep their type; other values do not change.

    For an object with a method `to`, that method is called on a shallow copy, while `function` replaces `Tensor.to`. Raises
    TaskError for any other object that holds tensors.
    """
    if isinstance(tree, Tensor):
        return function(tree)
    if tree is None or isinstance(tree, (str, bytes, int, float)):
        return tree
    if _moves_itself(tree):
        with _InPlaceOfTo(function):
            return copy.copy(tree).to(_CPU)
    if isinstance(tree, Mapping):
        return like_mapping(tree, {key: map_tensors(function, item) for key, item in tree.items()})
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(map_tensors(function, item) for item in tree))
    if isinstance(tree, (tuple, list)):
        return type(tree)(map_tensors(function, item) for item in tree)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return _changed_dataclass(tree, lambda item: map_tensors(function, item))
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
    """Samples `start` to `stop` of a tree whose tensors have `num_samples` rows.

    A list with one entry for each sample, like the images of a detector, is sliced itself. Raises TaskError if neither is the
    case.
    """
    if isinstance(tree, Tensor):
        if not _has_rows(tree, num_samples):
            raise _cannot_split(tree, num_samples)
        return tree[start:stop]
    if tree is None or isinstance(tree, (str, bytes, int, float)):
        return tree
    if isinstance(tree, Mapping):  # may also have a method `to`, like the BatchEncoding of transformers
        parts = {key: slice_samples(item, num_samples, start, stop) for key, item in tree.items()}
        return like_mapping(tree, parts)
    if not _moves_itself(tree):
        is_list = isinstance(tree, (list, tuple))
        if is_list and len(tree) == num_samples and not _has_rows(tree, num_samples):
            return tree[start:stop]
        if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
            return _changed_dataclass(tree, lambda item: slice_samples(item, num_samples, start, stop))
        if is_list:
            items = [slice_samples(item, num_samples, start, stop) for item in tree]
            return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    raise _cannot_split(tree, num_samples)


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


def like_dataclass(tree: Any, values: Mapping[str, Any]) -> Any:
    """A copy of the dataclass `tree` with these field values."""
    made = copy.copy(tree)
    for name, value in values.items():
        object.__setattr__(made, name, value)  # the class may be frozen
    return made


def _changed_dataclass(tree: Any, change: Callable[[Any], Any]) -> Any:
    return like_dataclass(tree, {field.name: change(getattr(tree, field.name)) for field in dataclasses.fields(tree)})


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
