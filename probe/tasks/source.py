"""Where a Task comes from: a small description that travels to a worker process, which builds the Task itself.

Descriptions rather than Tasks travel, so that a data set is loaded once per process and never sent through a pipe. Only a
Task that exists in the caller's Python alone (`probe.find_lr(task)`) travels whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from probe.data.protocol import DataOptions
from probe.seeds import derive_seed
from probe.task import Task
from probe.tasks.given import TaskFunction, given_source, keywords_of
from probe.tasks.options import OPTION_NAMES
from probe.tasks.spec import NamedSpec
from probe.tasks.target import find_target, load_task

if TYPE_CHECKING:
    from probe.recipe.schema import Recipe


@runtime_checkable
class TaskSource(Protocol):
    """Picklable. `build` may be called many times with different hyperparameters."""

    @property
    def title(self) -> str:
        """What is trained, in words: `cnn on digits`."""

    @property
    def seed(self) -> int:
        """For what is drawn while the task is built, like a split of its data."""

    def keywords(self) -> tuple[str, ...] | None:
        """Names that `build` takes as hyperparameters; None where it takes any."""

    def build(self, params: Mapping[str, Any]) -> Task:
        """The Task with these hyperparameters (none of them the trainer's). To be called by `training.building` alone, which
        seeds the generators first. Raises TaskError, DataError, UserCodeError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSource(NamedSpec):
    """A named model on a named data set: `--model densenet --img 256`, or a recipe's `model` and `data`."""

    def keywords(self) -> tuple[str, ...] | None:
        from probe.data.registry import data_keywords
        from probe.models.registry import model_keywords

        return (*model_keywords(self.model), *data_keywords(self.data), *OPTION_NAMES)

    def build(self, params: Mapping[str, Any]) -> Task:
        from probe.tasks.named import named_task

        return named_task(self, params)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSource:
    """A user's `module:callable`."""

    target: str
    seed: int = 0

    @property
    def title(self) -> str:
        return self.target

    def keywords(self) -> tuple[str, ...] | None:
        return keywords_of(find_target(self.target))

    def build(self, params: Mapping[str, Any]) -> Task:
        return load_task(self.target, params)


def as_source(task: Task | TaskFunction | TaskSource) -> TaskSource:
    """The source itself, or the Task or the function that returns one wrapped as one. Raises TaskError for anything else."""
    return task if isinstance(task, TaskSource) else given_source(task)


def task_seed(recipe: Recipe) -> int:
    """For what is drawn while a recipe's task is built."""
    return derive_seed(recipe.search.seed, "task")


def recipe_source(recipe: Recipe, *, data_dir: Path = Path("data"), image_size: int | None = None) -> TaskSource:
    """What a recipe's [task] names; `image_size` replaces its own."""
    section, seed = recipe.task, task_seed(recipe)
    if section.target is not None:
        return TargetSource(target=section.target, seed=seed)
    if section.model is None or section.data is None:
        raise ValueError("a validated recipe names a target, or a model and data")
    return NamedSource(
        model=section.model,
        data=section.data,
        data_dir=data_dir.absolute(),
        image_size=image_size or section.image_size,
        weights=None if section.weights is None else Path(section.weights).absolute(),
        data_options=DataOptions(**section.data_options.given),
        val_fraction=section.validation.fraction or 0.0,
        num_train=section.num_train,
        subset_seed=derive_seed(recipe.search.seed, "num_train") if section.num_train else 0,
        seed=seed,
    )
