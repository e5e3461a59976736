"""Building of tasks: with seeded random generators, cached in worker processes, and checked for changed data.

Without seeding, a task function that calls `random_split` without a generator, as in most tutorials, would draw another split
each time. In a search, training samples of one rung would be validation samples of the next.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch

from probe.errors import ChangedDataError, DataError
from probe.loading.fingerprints import SPLITS, fingerprints, read_splits
from probe.loading.overlap import find_overlaps
from probe.loading.random_state import random_state_kept, seed_everything
from probe.loading.records import SPLIT_NAMES, DataReference, Overlap
from probe.task import Task
from probe.tasks.given import GivenSource
from probe.tasks.source import TaskSource
from probe.training.settings import task_params
from probe.workers.child import in_worker
from probe.workers.process_state import ProcessState

IMPORT_SEED = 0
"""Seed for random numbers that modules draw when they are imported."""
MAX_SEARCH_DEPTH = 3
_SEEDING_HINT = (
    "The global generators of PyTorch, NumPy and random are seeded before each build. Create every other generator inside the "
    "function with a fixed seed, like torch.Generator().manual_seed(0) or numpy.random.default_rng(0)."
)


@dataclass(frozen=True, slots=True)
class _Kept:
    source: TaskSource
    params: tuple[tuple[str, str, Any], ...]
    task: Task
    settings: ProcessState
    """Process-wide settings that the task's code made, like PyTorch's default dtype."""


_kept: _Kept | None = None
"""In a worker: the last task that was built. Only one is kept, because it may hold a data set."""
_checked: DataReference | None = None
"""In a worker: the reference that its data were checked against."""


def load_keywords(source: TaskSource) -> tuple[str, ...] | None:
    """`source.keywords()`. Modules are imported with seeded generators, so that data created at import do not change."""
    with _own_random_state():
        seed_everything(IMPORT_SEED)
        return source.keywords()


def build_task(source: TaskSource, params: Mapping[str, Any], reference: DataReference | None = None) -> Task:
    """Build the task with these hyperparameters, without those of the trainer. Raises ChangedDataError if its data differ from
    `reference`, and the errors of `source.build`.

    The generators of PyTorch, NumPy and Python are seeded with the source's seed, and restored afterwards. A worker returns the
    last task again if source and hyperparameters are the same: data are only read, and each training makes its own model.
    """
    global _kept
    given = _own_params(source, params)
    key = _key(given)
    if _kept is not None and (_kept.source, _kept.params) == (source, key):
        _kept.settings.restore()
        return _kept.task
    _kept = None  # frees its data before the next data set is loaded
    task = _build(source, given)
    if reference is not None:
        _check(source, task, given, reference)
    if in_worker() and not isinstance(source, GivenSource) and not _draws_by_itself(task):
        _kept = _Kept(source, key, task, ProcessState.captured())
    return task


def data_reference(source: TaskSource, params: Mapping[str, Any]) -> DataReference:
    """Build the task twice and return the fingerprints of its data. Raises ChangedDataError if the two differ."""
    given = _own_params(source, params)
    with _own_random_state():
        first = fingerprints(_build(source, given))
        second = fingerprints(build_task(source, given))
    reference = DataReference(params=given, fingerprints=first)
    _raise_if_changed(reference, second, when="from one build of the task to the next")
    return reference


def check_splits(task: Task) -> tuple[Overlap, ...]:
    """Pairs of splits that share some samples. Raises DataError if they share so many that scores would be meaningless."""
    with _own_random_state():
        overlaps = find_overlaps(read_splits(task))
    for overlap in overlaps:
        if overlap.is_error:
            first, second = SPLIT_NAMES[overlap.first], SPLIT_NAMES[overlap.second]
            raise DataError(
                f"The task's {second} and {first} splits share samples: {overlap.text}.",
                hint=f"Give the Task a {second} split of other samples, or none"
                + ("; it is then held out of the training split." if overlap.second == "val" else "."),
            )
    return overlaps


def _own_params(source: TaskSource, params: Mapping[str, Any]) -> dict[str, Any]:
    """Import the task's modules and return the hyperparameters that the task is built with."""
    load_keywords(source)
    return task_params(source, params)


def _build(source: TaskSource, params: Mapping[str, Any]) -> Task:
    with _own_random_state():
        seed_everything(source.seed)
        return source.build(params)


def _check(source: TaskSource, task: Task, params: Mapping[str, Any], reference: DataReference) -> None:
    """Compare the data with the reference. Since data may depend on hyperparameters, a task with the reference's is built if
    they differ."""
    global _checked
    with _own_random_state():
        found = fingerprints(task)
        if found == reference.fingerprints or _checked == reference:
            return
        if _key(params) != _key(reference.params):
            settings = ProcessState.captured()
            found = fingerprints(_build(source, reference.params))
            settings.restore()  # undo settings that the other task's code made
    _raise_if_changed(reference, found, when="since the search loaded it")
    _checked = reference if in_worker() else None


def _raise_if_changed(reference: DataReference, found: Mapping[str, str], *, when: str) -> None:
    changed = [SPLIT_NAMES[split] for split in SPLITS if reference.fingerprints.get(split) != found.get(split)]
    if changed:
        listed = " and ".join(filter(None, (", ".join(changed[:-1]), changed[-1])))
        splits = f"{listed} split{'s' if len(changed) > 1 else ''}"
        raise ChangedDataError(
            f"The samples of the task's {splits} have changed {when}, so results cannot be compared.",
            hint=_SEEDING_HINT,
        )


def _key(params: Mapping[str, Any]) -> tuple[tuple[str, str, Any], ...]:
    """Hyperparameters with their types, because True == 1 in Python, but they may differ for a task."""
    return tuple(sorted((name, type(value).__name__, value) for name, value in params.items()))


def _draws_by_itself(task: Task) -> bool:
    """Whether a split has its own random generator. A task that is used again would continue its random numbers."""
    return any(_holds_generator(getattr(task, split), MAX_SEARCH_DEPTH) for split in SPLITS)


def _holds_generator(value: Any, depth: int) -> bool:
    if isinstance(value, (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)):
        return True
    if depth == 0 or isinstance(value, (str, bytes, torch.Tensor, np.ndarray, type, ModuleType)):
        return False
    inner = (
        value[:8] if isinstance(value, (list, tuple)) else vars(value).values() if hasattr(value, "__dict__") else ()
    )
    return any(_holds_generator(item, depth - 1) for item in inner)


@contextmanager
def _own_random_state() -> Iterator[None]:
    """A context that restores all random generators. It does not initialize a GPU that is not in use."""
    gpu = torch.accelerator.current_accelerator()
    is_used = gpu is not None and torch.get_device_module(gpu).is_initialized()
    with random_state_kept(gpu if gpu is not None and is_used else torch.device("cpu")):
        yield
