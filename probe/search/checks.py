"""Checks of a recipe against its task and device, before anything is spent."""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import get_args

from probe.data.registry import check_data_exist, data_source
from probe.device.select import DeviceSpec, parse_device
from probe.errors import DataError, ProbeError, RecipeError, TaskError, UsageError, unknown_name
from probe.limits import OneOf, Rule, Rules
from probe.loading.records import overlap_warnings
from probe.models.registry import model_rules
from probe.recipe.checks import conditions_of, values_of
from probe.recipe.schema import Recipe
from probe.recipe.space import Constant, ProbedBatch, Range, SpaceEntry
from probe.recipe.values import TRAINER, show
from probe.recipe.when import holds
from probe.records import DEFAULT_BATCH_SIZE, Precision
from probe.search.records.objective import check_metric, direction_warning
from probe.search.samplers.auto_sampler import NOTHING_SEARCHED
from probe.search.schedulers.fidelity import FidelitySchedule
from probe.search.settings import recipe_objective
from probe.search.space.configurations import check_grid_size
from probe.search.space.dimensions import expected_space, optimizers_of
from probe.search.task_info import TaskInfo
from probe.tasks.options import OPTIONS
from probe.tasks.source import TaskSource
from probe.training.optimizer_names import OPTIMIZER_NAMES, OPTIONAL, hyperparameters_of
from probe.training.settings import LrSchedule

_NAMED: dict[str, Rule] = {
    "optimizer": OneOf(OPTIMIZER_NAMES),
    "precision": OneOf(get_args(Precision)),
    "lr_schedule": OneOf(get_args(LrSchedule)),
}


def check_names(recipe: Recipe, source: TaskSource) -> None:
    """Check that every hyperparameter is one of the trainer or a keyword of the task, whose code is imported. Raises
    RecipeError, TaskError."""
    from probe.training.building import load_keywords

    keywords = load_keywords(source)
    if keywords is not None:
        _check_known(recipe, keywords, title=source.title)


def _check_known(recipe: Recipe, keywords: Iterable[str], *, title: str) -> None:
    known = [*(keyword for keyword in keywords if keyword not in TRAINER), *TRAINER]
    for name in recipe.space:
        if name not in known:
            message, hint = unknown_name(f"hyperparameter of {title}:", name, known)
            raise RecipeError(f"space.{name}: {message}", hint=hint)


def check_recipe(recipe: Recipe) -> None:
    """Check what is known without the task's code and data: the names of models, data, metrics and optimizers, and every
    value that [space] can produce. Imports no PyTorch, reads no data. Raises RecipeError, TaskError, DataError."""
    rules: dict[str, Rule] = {**TRAINER, **_NAMED}
    task = recipe.task
    if task.target is None and task.model is not None and task.data is not None:
        with _naming("task.model"):
            rules |= model_rules(task.model)
        with _naming("task.data"):
            check_data_exist(task.data)
        rules |= {**data_source(task.data).hyperparameters, **OPTIONS}
        _check_weights(task.weights)
        _check_known(recipe, rules, title=f"{task.model} on {task.data}")
        with _naming("task.objective.metric"):
            check_metric(recipe_objective(recipe), data_source(task.data).metrics)
        _check_options(recipe)
    _check_values(recipe, rules)
    _check_accumulation(recipe)
    for name in OPTIONAL:
        if name in recipe.space:
            _check_takers(recipe, name, optimizers_of(recipe, None))
    for key, optimizer in (("batch.optimizer", recipe.batch.optimizer), ("lr.optimizer", recipe.lr.optimizer)):
        if optimizer is not None:
            with _naming(key):
                _NAMED["optimizer"].check("optimizer", optimizer)
    if recipe.batch.device is not None:
        with _naming("batch.device"):
            parse_device(recipe.batch.device, memory=recipe.batch.memory)


@contextmanager
def _naming(key: str) -> Iterator[None]:
    """Name the key of the recipe in front of an error."""
    try:
        yield
    except ProbeError as error:
        raise type(error)(f"{key}: {error.message}", hint=error.hint) from None


def _check_weights(weights: str | None) -> None:
    if weights is not None and not os.path.isfile(weights):
        raise DataError(
            f"task.weights: there is no file {weights}.",
            hint=f"Paths are relative to the working directory, {os.path.abspath('.')}.",
        )


def _check_values(recipe: Recipe, rules: Rules) -> None:
    for name, entry in recipe.space.items():
        rule = rules.get(name)
        if rule is None:
            continue
        given = [configuration[name] for configuration in recipe.start if name in configuration]
        for value in (*_produced(entry, rule), *given):
            try:
                rule.check(name, value)
            except TaskError as error:
                hint = error.hint or "Change it, or remove it to use the default."
                raise RecipeError(f"space.{name}: {error.message}", hint=hint) from None


def _check_accumulation(recipe: Recipe) -> None:
    """Check that every batch can be split into the micro-batches that may be searched with it."""
    batch, accumulation = recipe.space.get("batch_size"), recipe.space.get("gradient_accumulation")
    smallest = min(map(int, values_of(batch)), default=DEFAULT_BATCH_SIZE if recipe.task.target is None else None)
    most = max(map(int, values_of(accumulation)), default=1)
    if smallest is None or isinstance(batch, ProbedBatch) or conditions_of(accumulation) or most <= smallest:
        return
    raise RecipeError(
        f"space.gradient_accumulation: a batch of {smallest} samples cannot be split into {most} micro-batches.",
        hint="Raise batch_size, or lower gradient_accumulation.",
    )


def _produced(entry: SpaceEntry, rule: Rule) -> Iterable[object]:
    """Values of an entry such that the rule allows all values if it allows these."""
    if isinstance(entry, Range) and isinstance(rule, OneOf) and entry.kind == "int":
        whole = range(int(entry.low), int(entry.high) + 1, int(entry.step or 1))
        return whole[: len(rule.values) + 1]
    return values_of(entry)


def _check_options(recipe: Recipe) -> None:
    """Check that losses and augmentations go together."""
    gamma = recipe.space.get("focal_gamma")
    losses = values_of(recipe.space.get("loss"))
    condition = conditions_of(gamma).get("loss")
    met = losses if condition is None else [loss for loss in losses if holds(condition, loss)]
    if gamma is not None and list(met) != ["focal"]:
        raise RecipeError(
            "space.focal_gamma: only the focal loss has it.",
            hint='Add a condition below loss: focal_gamma = { ..., when = { loss = "focal" } }.',
        )
    if "augmentation_strength" in recipe.space and "augmentation" not in recipe.space:
        raise RecipeError(
            "space.augmentation_strength: the recipe has no augmentation.",
            hint='Add one above it, for example augmentation = "shift".',
        )


def check_grid(recipe: Recipe) -> None:
    """Check that a requested grid can be built, as far as is known before the probes. Raises RecipeError."""
    if recipe.search.sampler == "grid":
        check_grid_size(expected_space(recipe))


def check_against_task(recipe: Recipe, task: TaskInfo) -> None:
    """Check that the metric is measured, and that hyperparameters of the optimizer have an effect. Raises RecipeError."""
    check_metric(recipe_objective(recipe), task.metrics)
    optimizers = optimizers_of(recipe, task.optimizer)
    for name in ("lr", *OPTIONAL):
        if name not in recipe.space:
            continue
        if not optimizers and name not in task.reached:
            raise RecipeError(
                f"space.{name}: the task's optimizer is a callable that ignores it, so it would have no effect.",
                hint=f"Let the callable use it, for example: optimizer=lambda params, {_arguments(name)}: "
                f"torch.optim.SGD(params, {', '.join(f'{one}={one}' for one in _arguments(name).split(', '))})",
            )
        if name != "lr":
            _check_takers(recipe, name, optimizers)


def _arguments(name: str) -> str:
    return "lr" if name == "lr" else f"lr, {name}"


def _check_takers(recipe: Recipe, name: str, optimizers: Sequence[str]) -> None:
    """Check that every optimizer with which `name` exists accepts it. Raises RecipeError."""
    entry = recipe.space[name]
    when = conditions_of(entry)
    for optimizer in optimizers:
        meets = "optimizer" not in when or holds(when["optimizer"], optimizer)
        if meets and name not in hyperparameters_of(optimizer):
            takers = [other for other in OPTIMIZER_NAMES if name in hyperparameters_of(other)]
            raise RecipeError(
                f"space.{name}: {optimizer} has no {name}; {', '.join(takers)} do.",
                hint=_when_hint(name, entry, [one for one in optimizers if one in takers] or takers[:1]),
            )


def _when_hint(name: str, entry: SpaceEntry, takers: list[str]) -> str:
    given = f"choices = [{entry.value}]" if isinstance(entry, Constant) else "..."
    return f"Add a condition: {name} = {{ {given}, when = {{ optimizer = {show(takers if takers[1:] else takers[0])} }} }}."


def check_constraints(recipe: Recipe, device: DeviceSpec) -> None:
    """Check that what is constrained can be measured on the resolved device. Raises RecipeError."""
    if recipe.search.constraints.memory is not None and not device.counts_memory:
        raise RecipeError(
            "search.constraints.memory: the memory of a trial cannot be measured on the CPU.",
            hint="Search on a GPU or with a simulated limit (--device simulated:8GiB), or remove the constraint.",
        )


def check_deterministic(recipe: Recipe, *, num_workers: int | None) -> None:
    """Check that two runs of a search with --deterministic make the same decisions, also after a resume: with one
    worker, results arrive in one order, and no decision may depend on a clock. Raises RecipeError, UsageError."""
    if recipe.budget.time is not None:
        raise RecipeError(
            f"budget.time = {recipe.budget.time}: a deterministic search cannot be limited by time.",
            hint="Limit trials or epochs instead (--time none removes the limit), or remove --deterministic.",
        )
    timed = {
        "search.trial_time": recipe.search.trial_time,
        "search.constraints.step_ms": recipe.search.constraints.step_ms,
    }
    for key, value in timed.items():
        if value is not None:
            raise RecipeError(
                f"{key} = {value}: a deterministic search cannot depend on measured times.",
                hint="Constrain params or memory instead, or remove --deterministic.",
            )
    if num_workers is not None and num_workers != 1:
        raise UsageError(
            f"--workers {num_workers}: a deterministic search uses one worker, so that results arrive in one order.",
            hint="Remove --workers or --deterministic.",
        )


def warnings_for(recipe: Recipe, task: TaskInfo, fidelity: FidelitySchedule) -> list[str]:
    """Return warnings about a valid recipe."""
    found = [] if recipe.searched else [NOTHING_SEARCHED]
    direction = direction_warning(recipe.task.objective.metric, recipe.task.objective.mode)
    found += [] if direction is None else [direction]
    if task.num_test is None:
        found.append("The task has no test split, so the winner is not scored on data that the search did not use.")
    found += overlap_warnings(task.overlaps)
    if task.edited:
        found.append(
            f"The task's code changed while the search was stopped ({', '.join(task.edited)}): trials before and after may "
            "not be comparable."
        )
    limit = recipe.budget.epochs
    full_cost = fidelity.total_costs[-1]
    if limit is not None and limit < full_cost:
        found.append(
            f"The budget of {limit:g} epochs is less than one full training of {full_cost:g}: no trial can be complete."
        )
    return found
