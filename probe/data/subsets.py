"""A data set with fewer training samples than it has."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import torch

from probe.data.images import ResizedImages
from probe.data.loaded import LoadedData
from probe.errors import DataError
from probe.splits import subset_indices

_made: dict[tuple[int, int, int], tuple[weakref.ref[Any], Any]] = {}
"""(id of the whole part's targets, count, seed) -> those targets and the smaller part, so that the trials of one process share
one copy of it."""


def with_fewer_samples(data: LoadedData, count: int, *, seed: int, name: str) -> LoadedData:
    """`data` with `count` of its training samples: with the classes' proportions where there are classes, the latest ones where
    they stand in time order. A larger count holds all samples of a smaller one.

    Raises DataError where it has no more than that, or where its samples are made as they are asked for.
    """
    train = data.train
    if not isinstance(train, (tuple, ResizedImages)):
        raise DataError(f"num_train is given, but {name} makes its samples as they are asked for.")
    available = len(train[0]) if isinstance(train, tuple) else len(train)
    if count >= available:
        raise DataError(
            f"num_train is {count}, but {name} has {available} training samples.",
            hint="Give fewer, or leave num_train out to use all of them.",
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
        labels = targets.numpy() if data.objective == "classification" else None
        rows = torch.from_numpy(subset_indices(len(targets), count=count, seed=seed, labels=labels))
    if isinstance(train, ResizedImages):
        part: Any = ResizedImages(train.images[rows], train.targets[rows], train.size)
    else:
        part = tuple(tensor[rows] for tensor in train)
    _made[key] = (weakref.ref(targets, lambda _: _made.pop(key, None)), part)
    return part
