"""Tasks that a script or a notebook hands over: a Task, or a function that returns one.

They travel to worker processes whole (cloudpickle: functions and classes of `__main__` by value), and are read once a process.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import cloudpickle

from probe.errors import TaskError
from probe.task import Task
from probe.tasks.target import make_task
from probe.workers.process_state import complete

TaskFunction = Callable[..., Task]
"""Its keywords are the task's hyperparameters: `def task(width=16) -> probe.Task`."""


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
    """A Task; it has no hyperparameters of its own."""

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
    """One of the others, pickled once for all jobs of a search. Processes that run many of them unpickle it once, so that what
    its functions share, like data that the notebook has loaded, is there once."""

    title: str
    names: tuple[str, ...] | None
    """Its keywords."""
    seed: int
    content: bytes = field(repr=False)

    def keywords(self) -> tuple[str, ...] | None:
        return self.names

    def build(self, params: Mapping[str, Any]) -> Task:
        return _unpickled(self.content).build(params)


def given_source(task: Task | TaskFunction, *, seed: int = 0) -> GivenSource | FunctionSource:
    """The task or the function as a source. Raises TaskError for anything else.

    Args:
        seed: for what is drawn while the function builds its task.
    """
    if isinstance(task, Task):
        return GivenSource(task=task)
    if not callable(task):
        raise TaskError(
            f"task must be a probe.Task, or a function that returns one, not {type(task).__name__}.",
            hint="Write: def task(width=16): return probe.Task(model=..., train=...)",
        )
    return FunctionSource(function=task, title=target_of(task), seed=seed)


def pickled_source(source: GivenSource | FunctionSource) -> PickledSource:
    """Raises TaskError for what cannot be pickled."""
    try:
        content = cloudpickle.dumps(source)
    except Exception as error:
        raise TaskError(
            f"The task {source.title} cannot be sent to a worker process: {type(error).__name__}: {error}",
            hint="Open files, locks and generators stay out of a Task; make them inside its functions.",
        ) from None
    return PickledSource(title=source.title, names=source.keywords(), seed=source.seed, content=content)


def target_of(task: Task | TaskFunction) -> str:
    """What a recipe's record says that was trained: `__main__:task` for a function of a notebook."""
    if isinstance(task, Task):
        name = re.sub(r"[:\s]+", "-", task.name)
        return f"__main__:{name or 'task'}"
    name = getattr(task, "__qualname__", type(task).__qualname__)
    return f"{getattr(task, '__module__', None) or '__main__'}:{name}"


def keywords_of(function: Callable[..., Any]) -> tuple[str, ...] | None:
    """Names of the keywords that `function` takes; None where it takes any."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return tuple(parameter.name for parameter in parameters)


@lru_cache(maxsize=1)
def _unpickled(content: bytes) -> GivenSource | FunctionSource:
    source: GivenSource | FunctionSource = cloudpickle.loads(content)
    complete(imported=True)  # the modules of the user's that it refers to
    return source
