"""The one way in which tasks are built: from seeded generators, in a worker once for what has not changed, and checked.

A task function that calls `random_split` without a generator, as most tutorials do, would otherwise draw another split each
time: in a search, samples that were trained on in one rung would be validated on in the next.
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
from probe.loading.fingerprints import PARTS, fingerprints, look_at
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
"""For what modules draw when they are imported: once in a process, whatever is built in it later."""
MAX_SEARCH_DEPTH = 3
_SEEDING_HINT = (
    "PyTorch, NumPy and random are seeded before each build. Seed every other generator with a fixed number, like "
    "torch.Generator().manual_seed(0) or numpy.random.default_rng(0), not by the time, and make it inside of the function."
)


@dataclass(frozen=True, slots=True)
class _Kept:
    source: TaskSource
    params: tuple[tuple[str, str, Any], ...]
    task: Task
    settings: ProcessState
    """What the task's code set while it built the task, like PyTorch's default dtype."""


_kept: _Kept | None = None
"""In a worker: the last task that was built. One alone, as it may hold a data set."""
_checked: DataReference | None = None
"""In a worker: what was built here once more and found to be the same."""


def load_keywords(source: TaskSource) -> tuple[str, ...] | None:
    """`source.keywords()`, its modules imported with seeded generators, so that data made at import are the same everywhere."""
    with _own_random_state():
        seed_everything(IMPORT_SEED)
        return source.keywords()


def build_task(source: TaskSource, params: Mapping[str, Any], reference: DataReference | None = None) -> Task:
    """The task with these hyperparameters; those of the trainer are left out. PyTorch's, NumPy's and Python's generators are
    seeded with the source's seed before, and are afterwards as they were.

    In a worker process, a task whose source and hyperparameters are those of the last one is that one: data are only read, and
    a model is made anew by each training.

    Raises:
        TaskError, DataError, UserCodeError: as `source.build`.
        ChangedDataError: built with the reference's hyperparameters, the data are not those of `reference`.
    """
    global _kept
    given = _own_params(source, params)
    key = _key(given)
    if _kept is not None and (_kept.source, _kept.params) == (source, key):
        _kept.settings.restore()
        return _kept.task
    _kept = None  # before the next data set is loaded
    task = _build(source, given)
    if reference is not None:
        _check(source, task, given, reference)
    if in_worker() and not isinstance(source, GivenSource) and not _draws_by_itself(task):
        _kept = _Kept(source, key, task, ProcessState.captured())
    return task


def data_reference(source: TaskSource, params: Mapping[str, Any]) -> DataReference:
    """The fingerprints of the data of two tasks, built one after the other. Raises ChangedDataError where they differ."""
    given = _own_params(source, params)
    with _own_random_state():
        first = fingerprints(_build(source, given))
        second = fingerprints(build_task(source, given))
    reference = DataReference(params=given, fingerprints=first)
    _raise_if_changed(reference, second, when="from one build of the task to the next")
    return reference


def check_splits(task: Task) -> tuple[Overlap, ...]:
    """Pairs of parts that share some samples. Raises DataError where they share so many that one is no part of its own."""
    with _own_random_state():
        overlaps = find_overlaps(look_at(task))
    for overlap in overlaps:
        if overlap.is_error:
            first, second = SPLIT_NAMES[overlap.first], SPLIT_NAMES[overlap.second]
            raise DataError(
                f"The task's {second} and {first} parts share samples: {overlap.text}.",
                hint=f"Give the Task a {second} part of other samples, or leave it out"
                + (": it is then held out of the training part." if overlap.second == "val" else "."),
            )
    return overlaps


def _own_params(source: TaskSource, params: Mapping[str, Any]) -> dict[str, Any]:
    """Those that the task is built with, its modules imported first."""
    load_keywords(source)
    return task_params(source, params)


def _build(source: TaskSource, params: Mapping[str, Any]) -> Task:
    with _own_random_state():
        seed_everything(source.seed)
        return source.build(params)


def _check(source: TaskSource, task: Task, params: Mapping[str, Any], reference: DataReference) -> None:
    """Data may depend on hyperparameters: where they are not the reference's, a task with its hyperparameters decides."""
    global _checked
    with _own_random_state():
        found = fingerprints(task)
        if found == reference.fingerprints or _checked == reference:
            return
        if _key(params) != _key(reference.params):
            settings = ProcessState.captured()
            found = fingerprints(_build(source, reference.params))
            settings.restore()  # what that task's code sets is not for this one
    _raise_if_changed(reference, found, when="since the search loaded it")
    _checked = reference if in_worker() else None


def _raise_if_changed(reference: DataReference, found: Mapping[str, str], *, when: str) -> None:
    changed = [SPLIT_NAMES[part] for part in PARTS if reference.fingerprints.get(part) != found.get(part)]
    if changed:
        listed = " and ".join(filter(None, (", ".join(changed[:-1]), changed[-1])))
        parts = f"{listed} part{'s' if len(changed) > 1 else ''}"
        raise ChangedDataError(
            f"The samples of the task's {parts} have changed {when}: what is measured on them does not compare.",
            hint=_SEEDING_HINT,
        )


def _key(params: Mapping[str, Any]) -> tuple[tuple[str, str, Any], ...]:
    """With the types: True is 1 to Python, and not to a task."""
    return tuple(sorted((name, type(value).__name__, value) for name, value in params.items()))


def _draws_by_itself(task: Task) -> bool:
    """Whether a part has a generator of its own: from a task that is used again it would go on where it was."""
    return any(_holds_generator(getattr(task, part), MAX_SEARCH_DEPTH) for part in PARTS)


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
    """Whatever is drawn or seeded inside, the caller's generators are as before; a GPU that nobody uses stays unused."""
    gpu = torch.accelerator.current_accelerator()
    is_used = gpu is not None and torch.get_device_module(gpu).is_initialized()
    with random_state_kept(gpu if gpu is not None and is_used else torch.device("cpu")):
        yield
