"""Which ladder a search uses, and at which rungs, where the recipe does not say. Pure.

This is the only place that decides it: everything else reads the LadderChoice, which a search stores when it starts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from probe.recipe.schema import Recipe
from probe.search.schedulers.brackets import SchedulerName
from probe.search.schedulers.fidelity import Unit, make_fidelity_schedule
from probe.search.schedulers.successive_halving import make_rungs
from probe.units import format_value

FACTOR = 3
"""Theory favours e, practice 3 or 4, and results depend little on it (Li et al. 2018, https://arxiv.org/abs/1603.06560)."""
EPOCHS_DIVISOR = 9
"""The lowest rung is the longest training divided by this: with FACTOR, trials are ranked after a ninth and after a third."""
DATA_DIVISOR = 10
"""The same for shares of the training data: on 100 %, trials are ranked on 10 % and 30 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerChoice:
    """The ladder of a search."""

    name: SchedulerName
    rungs: tuple[int, ...]
    """Epochs, or thousandths of the training data; the last one is the longest training. One rung with `none`."""
    factor: int
    """One trial in `factor` goes on from each rung to the next."""
    reason: str | None = None
    """A sentence that begins with the name, where the choice was left to us."""


def choose_scheduler(recipe: Recipe) -> SchedulerChoice:
    """The ladder that `search.scheduler` and `search.fidelity` stand for. What the recipe gives is kept, whatever the ladder.

    `auto` is `none` where the recipe itself says how long each trial is trained, and where no rung lies below the longest
    training; else it is `asha`.
    """
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
    return SchedulerChoice(name=name, rungs=rungs, factor=factor, reason=reason)


def longest_training(recipe: Recipe) -> int:
    """Epochs, or thousandths of the training data."""
    fidelity = recipe.search.fidelity
    return fidelity.highest if fidelity.unit == "data" else recipe.longest_epochs


def lowest_rung(longest: int, unit: Unit) -> int:
    """Where trials are first ranked if the recipe has no `min`; `longest` and the answer in epochs, or in thousandths."""
    return max(1, round(longest / (EPOCHS_DIVISOR if unit == "epochs" else DATA_DIVISOR)))


def budget_trainings(recipe: Recipe) -> float:
    """How many trainings to the end `budget.epochs` pays for; infinite where it is not given."""
    epochs = recipe.budget.epochs
    return (
        math.inf
        if epochs is None
        else epochs / make_fidelity_schedule(recipe, (longest_training(recipe),)).total_costs[-1]
    )


def _reason_for_none(recipe: Recipe, *, has_rungs: bool) -> str | None:
    if "epochs" in recipe.space:
        return "space.epochs says how long each trial is trained"
    if recipe.search.refine is not None:
        return "search.refine judges a step by a whole training"
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
