"""Tasks from Python code, like a notebook: a Task, or a function that returns one.

They are pickled for worker processes by cloudpickle, which pickles functions and classes of `__main__` by value, and unpickled
once per process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import cloudpickle

from probe.errors import TaskError
from probe.task import Task
from probe.tasks.target import keyword_parameters, make_task
from probe.workers.process_state import complete

TaskFunction = Callable[..., Task]
"""A function whose keywords are the hyperparameters of the task: `def task(width=16) -> probe.Task`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSource:
    """A function that returns a Task."""

    function: TaskFunction
    title: str
    seed: int = 0

    def keywords(self) -> tuple[str, ...] | None:
        return keywords_of(self.function)

    def build(self, params: Mapping[str, Any]) -> Task:
        return make_task(self.title, self.function, params)


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenSource:
    """A Task. It has no hyperparameters of its own."""

    task: Task = field(repr=False)
    seed: int = 0

    @property
    def title(self) -> str:
        return self.task.name

    def keywords(self) -> tuple[str, ...] | None:
        return ()

    def build(self, params: Mapping[str, Any]) -> Task:
        return self.task


@dataclass(frozen=True, slots=True, kw_only=True)
class PickledSource:
    """Another source, pickled once for all jobs of a search. A process unpickles it once, so that objects shared by its
    functions, like loaded data, exist once."""

    title: str
    names: tuple[str, ...] | None
    seed: int
    content: bytes = field(repr=False)

    def keywords(self) -> tuple[str, ...] | None:
        return self.names

    def build(self, params: Mapping[str, Any]) -> Task:
        return _unpickled(self.content).build(params)


def given_source(task: Task | TaskFunction, *, seed: int = 0) -> GivenSource | FunctionSource:
    """The source of a Task, or of a function that returns one. The generators are seeded with `seed` while the function builds
    its task. Raises TaskError for anything else."""
    if isinstance(task, Task):
        return GivenSource(task=task)
    if not callable(task):
        raise TaskError(
            f"task must be a probe.Task, or a function that returns one, not {type(task).__name__}.",
            hint="Write: def task(width=16): return probe.Task(model=..., train=...)",
        )
    return FunctionSource(function=task, title=target_of(task), seed=seed)


def pickled_source(source: GivenSource | FunctionSource) -> PickledSource:
    """Pickle a source. Raises TaskError if it cannot be pickled."""
    try:
        content = cloudpickle.dumps(source)
    except Exception as error:
        raise TaskError(
            f"The task {source.title} cannot be sent to a worker process: {type(error).__name__}: {error}",
            hint="Create open files, locks and generators inside the functions of the Task.",
        ) from None
    return PickledSource(title=source.title, names=source.keywords(), seed=source.seed, content=content)


def target_of(task: Task | TaskFunction) -> str:
    """The target for the records of a recipe: `__main__:task` for a function of a notebook."""
    if isinstance(task, Task):
        name = re.sub(r"[:\s]+", "-", task.name)
        return f"__main__:{name or 'task'}"
    name = getattr(task, "__qualname__", type(task).__qualname__)
    return f"{getattr(task, '__module__', None) or '__main__'}:{name}"


def keywords_of(function: Callable[..., Any]) -> tuple[str, ...] | None:
    """Names of the keywords of `function`, or None if it takes any. Raises TaskError if it cannot be called with keywords."""
    known, takes_any = keyword_parameters(target_of(function), function)
    return None if takes_any else tuple(known)


@lru_cache(maxsize=1)
def _unpickled(content: bytes) -> GivenSource | FunctionSource:
    source: GivenSource | FunctionSource = cloudpickle.loads(content)
    complete(imported=True)  # unpickling imported the user's modules
    return source
