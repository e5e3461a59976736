"""Sources of tasks: small, picklable descriptions from which a worker process builds the Task.

Descriptions are sent instead of Tasks, so that a data set is loaded once per process and never sent through a pipe. Only a Task
that exists only in the caller's Python (`probe.find_lr(task)`) is sent as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from probe.data.protocol import DataOptions
from probe.data.registry import data_source
from probe.limits import Rules
from probe.models.registry import model_rules
from probe.seeds import derive_seed
from probe.task import Task
from probe.tasks.given import TaskFunction, given_source, keywords_of, target_of
from probe.tasks.options import OPTIONS, NamedSpec
from probe.tasks.target import find_target, load_task

if TYPE_CHECKING:
    from probe.recipe.schema import Recipe


@runtime_checkable
class TaskSource(Protocol):
    """Picklable description of a task. `build` may be called many times with different hyperparameters."""

    @property
    def title(self) -> str:
        """Description for people: `cnn on digits`."""

    @property
    def seed(self) -> int:
        """Seed of the generators while the task is built, for example for a split of its data."""

    def keywords(self) -> tuple[str, ...] | None:
        """Names of the hyperparameters that `build` takes, or None if it takes any."""

    def build(self, params: Mapping[str, Any]) -> Task:
        """Build the Task with these hyperparameters, without those of the trainer. Only `probe.training.building` calls it,
        because it seeds the generators first. Raises TaskError, DataError, UserCodeError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSource(NamedSpec):
    """A named model on a named data set: `--model densenet --img 256`, or a recipe's `model` and `data`."""

    def keywords(self) -> tuple[str, ...] | None:
        return tuple(self.rules())

    def rules(self) -> Rules:
        """The hyperparameters, and the values that they can have. Raises TaskError, DataError for unknown names."""
        return {**model_rules(self.model), **data_source(self.data).hyperparameters, **OPTIONS}

    def build(self, params: Mapping[str, Any]) -> Task:
        from probe.tasks.named import named_task

        return named_task(self, params)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSource:
    """A user's target `module:callable`."""

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
    """The source of a Task, or of a function that returns one; a source is returned as it is. Raises TaskError otherwise."""
    return task if isinstance(task, TaskSource) else given_source(task)


def task_seed(recipe: Recipe) -> int:
    """Seed of the generators while a recipe's task is built."""
    return derive_seed(recipe.search.seed, "task")


def recipe_source(recipe: Recipe, *, data_dir: Path = Path("data"), image_size: int | None = None) -> TaskSource:
    """The source of a recipe's [task]. `image_size` replaces that of the recipe."""
    section, seed = recipe.task, task_seed(recipe)
    if section.target is not None:
        return TargetSource(target=section.target, seed=seed)
    if section.model is None or section.data is None:
        raise ValueError("a recipe names a target, or a model and data")
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


def recipe_with_task(
    recipe: Recipe | Path | str, task: Task | TaskFunction | None, *, overrides: Sequence[str] = ()
) -> Recipe:
    """The recipe, read from a file if it is a path, with its [task] replaced by `task` if one is given. Raises RecipeError."""
    from probe.recipe.load import load_recipe, parse_recipe, with_target

    target = None if task is None else target_of(task)
    if isinstance(recipe, (str, Path)):
        return load_recipe(recipe, overrides=overrides, target=target)
    if target is None:
        return recipe
    plain = recipe.to_plain()
    return parse_recipe({**plain, "task": with_target(plain["task"], target)}, where=recipe.name)
