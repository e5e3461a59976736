"""Makes schedulers by name, and chooses the scheduler of a search and its rungs if the recipe does not. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from probe.errors import RecipeError
from probe.recipe.schema import Recipe, SchedulerName
from probe.search.records.objective import Mode
from probe.search.schedulers.asha import AsynchronousSuccessiveHalving, make_rungs
from probe.search.schedulers.fidelity import Unit, make_fidelity_schedule
from probe.search.schedulers.hyperband import Hyperband, brackets_of
from probe.search.schedulers.protocol import Scheduler
from probe.search.schedulers.successive_halving import SuccessiveHalving
from probe.units import format_count, format_value

SCHEDULERS: Mapping[SchedulerName, Callable[..., Scheduler]] = {
    "none": AsynchronousSuccessiveHalving,  # with a single rung, nothing is promoted
    "halving": SuccessiveHalving,
    "asha": AsynchronousSuccessiveHalving,
    "hyperband": Hyperband,
}
"""Each scheduler's class. It takes the arguments of `make_scheduler`."""
FACTOR = 3
"""Default factor. Theory favours e, practice 3 or 4, and results depend little on it (Li et al. 2018,
https://arxiv.org/abs/1603.06560)."""
EPOCHS_DIVISOR = 9
"""The lowest rung is the longest training divided by this: with FACTOR, trials are ranked after 1/9 and 1/3 of it."""
MAX_ROUND = 10_000
"""Trials in one round of all brackets of `hyperband`, which are dealt one by one."""
DATA_DIVISOR = 10
"""The same for fractions of the training data: trials are ranked on 10 % and 30 % of them."""


def make_scheduler(
    name: SchedulerName, rungs: Sequence[int], *, factor: int, mode: Mode, costs: Sequence[float] | None = None
) -> Scheduler:
    """Make a scheduler. `costs`: cost in epochs of training to each rung; by default the difference between rungs."""
    return SCHEDULERS[name](rungs, factor=factor, mode=mode, costs=costs)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerChoice:
    """The scheduler of a search."""

    name: SchedulerName
    rungs: tuple[int, ...]
    """The rungs, in epochs or in thousandths of the training data, up to the longest training; `none` has only that."""
    factor: int
    """One trial in `factor` is promoted from each rung."""
    reason: str | None = None
    """Why `auto` chose this scheduler, starting with its name; None if the recipe names the scheduler."""


def choose_scheduler(recipe: Recipe) -> SchedulerChoice:
    """The scheduler for `search.scheduler` and `search.fidelity` of a recipe. `auto` chooses `none` if the recipe
    determines how long each trial is trained, or if there is no rung below the longest training; otherwise `asha`. Raises
    RecipeError if a round of `hyperband` has more than MAX_ROUND trials."""
    search, longest = recipe.search, longest_training(recipe)
    factor = search.fidelity.factor or FACTOR
    lowest = search.fidelity.lowest or lowest_rung(longest, search.fidelity.unit)
    reason = None
    if search.scheduler != "auto":
        name: SchedulerName = search.scheduler
    else:
        against = _reason_for_none(recipe, has_rungs=lowest < longest)
        name = "asha" if against is None else "none"
        reason = f"{name}, since {against or _reason_for_asha(recipe)}"
    rungs = (longest,) if name == "none" else make_rungs(lowest, longest, factor)
    if name == "hyperband":
        _check_round(len(rungs), factor)
    return SchedulerChoice(name=name, rungs=rungs, factor=factor, reason=reason)


def _check_round(num_rungs: int, factor: int) -> None:
    num_trials = sum(bracket.num_trials for bracket in brackets_of(num_rungs - 1, factor))
    if num_trials > MAX_ROUND:
        raise RecipeError(
            f"search.fidelity: with {num_rungs} rungs and factor {factor}, a round of all brackets of hyperband has "
            f"{format_count(num_trials)} trials, but at most {format_count(MAX_ROUND)} are allowed.",
            hint="Raise search.fidelity.min or factor, or choose the scheduler asha.",
        )


def longest_training(recipe: Recipe) -> int:
    """The highest rung, in epochs or in thousandths of the training data."""
    fidelity = recipe.search.fidelity
    return fidelity.highest if fidelity.unit == "data" else recipe.longest_epochs


def lowest_rung(longest: int, unit: Unit) -> int:
    """The default of the first rung, in the unit of `longest`: epochs, or thousandths of the training data."""
    return max(1, round(longest / (EPOCHS_DIVISOR if unit == "epochs" else DATA_DIVISOR)))


def budget_trainings(recipe: Recipe) -> float:
    """Number of complete trainings that `budget.epochs` pays for; infinite without that limit."""
    epochs = recipe.budget.epochs
    if epochs is None:
        return math.inf
    return epochs / make_fidelity_schedule(recipe, (longest_training(recipe),)).total_costs[-1]


def _reason_for_none(recipe: Recipe, *, has_rungs: bool) -> str | None:
    if "epochs" in recipe.space:
        return "space.epochs says how long each trial is trained"
    if recipe.search.refine is not None:
        return "search.refine needs whole trainings"
    if not has_rungs:
        return "search.fidelity leaves no rung below the longest training"
    return None


def _reason_for_asha(recipe: Recipe) -> str:
    trainings, trials = budget_trainings(recipe), recipe.budget.trials
    if math.isinf(trainings) or (trials is not None and trials <= trainings):
        return "stopping bad trials early saves epochs"
    shown = round(trainings, 1)
    counted = f"{format_value(shown)} whole training{'' if shown == 1 else 's'}"
    return f"the budget pays for {counted}, and stopping bad trials early makes room for more"
