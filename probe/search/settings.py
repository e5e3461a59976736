"""The settings of one search, made from its recipe."""

from __future__ import annotations

from dataclasses import dataclass

from probe.device.select import DeviceSpec
from probe.loading.records import DataReference, ValidationSplit
from probe.recipe.schema import Recipe
from probe.recipe.sections import DEFAULT_FRACTION
from probe.search.jobs.stopping import UNCONSTRAINED, Constraints, make_constraints
from probe.search.records.objective import Objective
from probe.search.records.search import BudgetLimits
from probe.search.schedulers.fidelity import FidelitySchedule, make_fidelity_schedule
from probe.search.schedulers.registry import SchedulerChoice, choose_scheduler
from probe.seeds import derive_seed
from probe.tasks.source import TaskSource


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """The settings that all stages of a search share."""

    recipe: Recipe
    source: TaskSource
    device: DeviceSpec
    objective: Objective
    limits: BudgetLimits
    scheduler: SchedulerChoice
    fidelity: FidelitySchedule
    split: ValidationSplit
    num_workers: int
    constraints: Constraints = UNCONSTRAINED
    reference: DataReference | None = None
    """Fingerprints of the task's data; None until the task is loaded."""

    @property
    def rungs(self) -> tuple[int, ...]:
        return self.fidelity.rungs

    @property
    def seed(self) -> int:
        return self.recipe.search.seed


def make_settings(
    recipe: Recipe,
    source: TaskSource,
    *,
    device: DeviceSpec,
    num_workers: int,
    scheduler: SchedulerChoice | None = None,
) -> SearchSettings:
    """Make the settings of a search. `scheduler` is the stored choice of a resumed search; None to choose."""
    scheduler = scheduler or choose_scheduler(recipe)
    validation = recipe.task.validation
    return SearchSettings(
        recipe=recipe,
        source=source,
        device=device,
        objective=recipe_objective(recipe),
        limits=recipe_limits(recipe),
        scheduler=scheduler,
        fidelity=make_fidelity_schedule(recipe, scheduler.rungs),
        split=ValidationSplit(
            fraction=validation.fraction or DEFAULT_FRACTION,
            seed=derive_seed(recipe.search.seed, "validation"),
            num_folds=validation.num_folds,
        ),
        num_workers=num_workers,
        constraints=make_constraints(recipe),
    )


def recipe_objective(recipe: Recipe) -> Objective:
    """The objective of a recipe."""
    given = recipe.task.objective
    return Objective(metric=given.metric, mode=given.mode, reduce=given.reduce)


def recipe_limits(recipe: Recipe) -> BudgetLimits:
    """The budget of a recipe."""
    given = recipe.budget
    return BudgetLimits(trials=given.trials, epochs=given.epochs, time_seconds=given.time_seconds)
