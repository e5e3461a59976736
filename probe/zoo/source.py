"""Where a Task comes from: a small description that travels to a worker process, which builds the Task itself.

Descriptions rather than Tasks travel, so that a data set is loaded once per process and never sent through a pipe. Only a
Task that exists in the caller's Python alone (`probe.find_lr(task)`) travels whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from probe.seeds import derive_seed
from probe.target import find_target, load_task
from probe.task import Task
from probe.zoo.data_options import NO_OPTIONS, DataOptions
from probe.zoo.given import TaskFunction, given_source, keywords_of
from probe.zoo.options import OPTION_NAMES

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
class NamedSource:
    """A named model on a named data set: `--model densenet --img 256`, or a recipe's `model` and `data`."""

    model: str
    data: str = "synthetic"
    data_dir: Path = Path("data")
    image_size: int | None = None
    """Height and width that images are resized to, or made with; None: the data's own, 224 for synthetic ones."""
    weights: Path | None = None
    """A file of weights to start from."""
    data_options: DataOptions = NO_OPTIONS
    held_out_share: float = 0.0
    """Of the training part, what will be its validation part: data in time order are scaled without it."""
    num_train: int | None = None
    """How many training samples are used, validation part included; None: all."""
    subset_seed: int = 0
    """Which ones."""
    seed: int = 0

    @property
    def title(self) -> str:
        size = f" at {self.image_size} x {self.image_size}" if self.image_size else ""
        few = f", {self.num_train} training samples" if self.num_train else ""
        return f"{self.model} on {self.data}{size}{few}"

    def keywords(self) -> tuple[str, ...] | None:
        from probe.zoo.data import data_keywords
        from probe.zoo.models import model_keywords

        return (*model_keywords(self.model), *data_keywords(self.data), *OPTION_NAMES)

    def build(self, params: Mapping[str, Any]) -> Task:
        from probe.zoo.tasks import named_task

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
        held_out_share=section.validation.share or 0.0,
        num_train=section.num_train,
        subset_seed=derive_seed(recipe.search.seed, "num_train") if section.num_train else 0,
        seed=seed,
    )
