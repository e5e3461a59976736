"""What must hold between a recipe and its task, checked before anything is spent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from probe.device.select import DeviceSpec
from probe.errors import RecipeError, TaskError, unknown_name
from probe.loading.records import overlap_warnings
from probe.recipe.checks import conditions_of
from probe.recipe.schema import Recipe
from probe.recipe.space import Choices, Constant, Range, SpaceEntry
from probe.recipe.values import show
from probe.recipe.when import holds
from probe.records import Precision
from probe.search.records.objective import Objective, check_metric, direction_warning
from probe.search.samplers.auto_sampler import NOTHING_SEARCHED
from probe.search.schedulers.fidelity import FidelitySchedule
from probe.search.space.dimensions import expected_space, optimizers_of
from probe.search.space.grid import check_grid_size
from probe.search.task_info import TaskInfo
from probe.tasks.source import TaskSource
from probe.training.optim.names import OPTIMIZER_NAMES, hyperparameters_of
from probe.training.settings import TRAINER_NAMES, LrSchedule


def check_names(recipe: Recipe, source: TaskSource) -> None:
    """Every hyperparameter is the trainer's or a keyword of the task's. Raises RecipeError, and TaskError for the task."""
    from probe.training.building import load_keywords

    keywords = load_keywords(source)
    if keywords is None:
        return
    for name in recipe.space:
        if name not in TRAINER_NAMES and name not in keywords:
            known = [*(keyword for keyword in keywords if keyword not in TRAINER_NAMES), *TRAINER_NAMES]
            message, hint = unknown_name(f"hyperparameter of {source.title}:", name, known)
            raise RecipeError(f"space.{name}: {message}", hint=hint)


def _check_options(recipe: Recipe) -> None:
    """Losses, augmentations and their like are ones that a named task can have, and go together. Raises RecipeError."""
    from probe.tasks.options import OPTION_NAMES, check_option

    if recipe.task.target is not None:  # such names are then the user's own
        return
    for name in OPTION_NAMES:
        entry = recipe.space.get(name)
        ends = (entry.low, entry.high) if isinstance(entry, Range) else _listed(entry)
        for value in ends:
            try:
                check_option(name, value)
            except TaskError as error:
                raise RecipeError(f"space.{name}: {error.message}", hint=error.hint) from None
    gamma = recipe.space.get("focal_gamma")
    losses = _listed(recipe.space.get("loss"))
    condition = conditions_of(gamma).get("loss")
    met = losses if condition is None else [loss for loss in losses if holds(condition, str(loss))]
    if gamma is not None and list(met) != ["focal"]:
        raise RecipeError(
            "space.focal_gamma: it belongs to the focal loss.",
            hint='Say when it exists: focal_gamma = { ..., when = { loss = "focal" } }, below loss.',
        )
    if "augmentation_strength" in recipe.space and "augmentation" not in recipe.space:
        raise RecipeError(
            "space.augmentation_strength: there is no augmentation.",
            hint='Write augmentation = "shift", say, above it.',
        )


def check_values(recipe: Recipe) -> None:
    """Optimizers, precisions, schedules and the task's options are ones that there are. Raises RecipeError."""
    _check_options(recipe)
    known = {"optimizer": OPTIMIZER_NAMES, "precision": get_args(Precision), "lr_schedule": get_args(LrSchedule)}
    for name, names in known.items():
        for value in _listed(recipe.space.get(name)):
            if value not in names:
                message, hint = unknown_name(name, str(value), names)
                raise RecipeError(f"space.{name}: {message}", hint=hint)


def check_grid(recipe: Recipe) -> None:
    """A grid that the recipe asks for can be built, as far as that is known before the probes. Raises RecipeError."""
    if recipe.search.sampler == "grid":
        check_grid_size(expected_space(recipe))


def check_against_task(recipe: Recipe, facts: TaskInfo) -> None:
    """The metric is measured; lr, momentum and the like are used by every optimizer they may meet. Raises RecipeError."""
    objective = recipe.task.objective
    check_metric(Objective(metric=objective.metric, mode=objective.mode, reduce=objective.reduce), facts.metrics)
    optimizers = optimizers_of(recipe, facts.optimizer)
    for name in ("lr", "momentum", "weight_decay"):
        if name not in recipe.space:
            continue
        if not optimizers and name not in facts.reached:
            raise RecipeError(
                f"space.{name}: the task's optimizer, a callable, ignores it: no trial would differ by it.",
                hint=f"Let the callable take and use it, like: optimizer=lambda params, {_arguments(name)}: "
                f"torch.optim.SGD(params, {', '.join(f'{one}={one}' for one in _arguments(name).split(', '))})",
            )
        if name != "lr":
            _check_takers(recipe, name, optimizers)


def _arguments(name: str) -> str:
    return "lr" if name == "lr" else f"lr, {name}"


def _check_takers(recipe: Recipe, name: str, optimizers: Sequence[str]) -> None:
    """Every optimizer with which `name` exists takes it. Raises RecipeError."""
    entry = recipe.space[name]
    when = conditions_of(entry)
    for optimizer in optimizers:
        meets = "optimizer" not in when or holds(when["optimizer"], optimizer)
        if meets and name not in hyperparameters_of(optimizer):
            takers = [other for other in OPTIMIZER_NAMES if name in hyperparameters_of(other)]
            raise RecipeError(
                f"space.{name}: {optimizer} takes no {name}; {', '.join(takers)} do.",
                hint=_when_hint(name, entry, [one for one in optimizers if one in takers] or takers[:1]),
            )


def _when_hint(name: str, entry: SpaceEntry, takers: list[str]) -> str:
    given = f"choices = [{entry.value}]" if isinstance(entry, Constant) else "..."
    return f"Say when it exists: {name} = {{ {given}, when = {{ optimizer = {show(takers if takers[1:] else takers[0])} }} }}."


def _listed(entry: SpaceEntry | None) -> tuple[object, ...]:
    if isinstance(entry, Constant):
        return (entry.value,)
    return entry.choices if isinstance(entry, Choices) else ()


def check_constraints(recipe: Recipe, device: DeviceSpec) -> None:
    """Whatever is constrained can be measured on the device, which has been resolved. Raises RecipeError."""
    if recipe.search.constraints.memory is not None and device.kind == "cpu":
        raise RecipeError(
            "search.constraints.memory: on the plain CPU nobody counts the memory of a trial.",
            hint="Search on a GPU or under a simulated limit (--device simulated:8GiB), or leave the constraint out.",
        )


def warnings_for(recipe: Recipe, facts: TaskInfo, fidelity: FidelitySchedule) -> list[str]:
    """What the user should know though it is no mistake."""
    found = [] if recipe.searched else [NOTHING_SEARCHED]
    direction = direction_warning(recipe.task.objective.metric, recipe.task.objective.mode)
    found += [] if direction is None else [direction]
    if facts.num_test is None:
        found.append(
            "The task has no test part, so the winner is not scored on data that played no role in finding it."
        )
    found += overlap_warnings(facts.overlaps)
    if facts.edited:
        found.append(
            f"The task's code changed while the search was stopped ({', '.join(facts.edited)}): trials before and after may "
            "not compare."
        )
    limit = recipe.budget.epochs
    full_cost = fidelity.total_costs[-1]
    if limit is not None and limit < full_cost:
        found.append(
            f"The budget of {limit:g} epochs is less than one trial's full length of {full_cost:g}: no trial can be complete."
        )
    return found
