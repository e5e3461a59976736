"""Uses only some of the training samples of a data set."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import torch

from probe.data.images import ResizedImages
from probe.data.protocol import LoadedData
from probe.errors import DataError
from probe.splits import subset_indices

_made: dict[tuple[int, int, int], tuple[weakref.ref[Any], Any]] = {}
"""(id of the whole split's targets, count, seed) -> those targets and the smaller split, so that the trials of a process share
one copy of it."""


def with_fewer_samples(data: LoadedData, count: int, *, seed: int, name: str) -> LoadedData:
    """`data` with only `count` training samples.

    Classes keep their proportions; of data in time order, the latest samples are used. A larger count includes all samples
    of a smaller one.

    Raises DataError if there are not more than `count`, or if samples are created on access.
    """
    train = data.train
    if not isinstance(train, (tuple, ResizedImages)):
        raise DataError(f"num_train cannot be used with {name}, which creates its samples on access.")
    available = len(train[0]) if isinstance(train, tuple) else len(train)
    if count >= available:
        raise DataError(
            f"num_train is {count}, but {name} has {available} training samples.",
            hint="Choose a smaller number, or remove num_train to use all of them.",
        )
    time_steps = None if data.time_steps is None else data.time_steps - (available - count)
    return replace(data, train=_smaller(data, train, count, seed), time_steps=time_steps)


def _smaller(data: LoadedData, train: Any, count: int, seed: int) -> Any:
    targets = train[-1] if isinstance(train, tuple) else train.targets
    key = (id(targets), count, seed)
    known = _made.get(key)
    if known is not None and known[0]() is targets:
        return known[1]
    if data.time_steps is not None:
        rows = torch.arange(len(targets) - count, len(targets))
    else:
        labels = targets.numpy() if data.task_type == "classification" else None
        rows = torch.from_numpy(subset_indices(len(targets), count=count, seed=seed, labels=labels))
    if isinstance(train, ResizedImages):
        smaller: Any = ResizedImages(train.images[rows], train.targets[rows], train.size)
    else:
        smaller = tuple(tensor[rows] for tensor in train)
    _made[key] = (weakref.ref(targets, lambda _: _made.pop(key, None)), smaller)
    return smaller
