"""Which sampler `auto` is, and why; and whether a grid fits. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from probe.search.records.search import BudgetLimits
from probe.search.space.grid import MAX_GRID, check_grid_size, grid_epochs, grid_size, is_listed
from probe.search.space.space import Space
from probe.units import format_count

NOTHING_SEARCHED = (
    "[space] leaves nothing to search: one configuration is trained. Give a hyperparameter a range or choices, "
    "or train it with `probe train`."
)
NOT_LEARNING = ("grid", "random", "qmc")
"""Samplers that make nothing of what they are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerChoice:
    name: str
    reason: str | None
    """A sentence, where the choice was left to us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridCost:
    """What training every configuration of a grid to the end would take."""

    size: int
    epochs: float
    fits: bool
    """In the budget's trials and epochs, of which there is at least one; how long an epoch takes is not known yet."""


def grid_cost(space: Space, *, limits: BudgetLimits, full_epochs: float, spent_epochs: float = 0.0) -> GridCost:
    """`full_epochs`: of one trial that is trained to the end. `spent_epochs`: by the probes."""
    size, epochs = grid_size(space), grid_epochs(space, full_epochs)
    limited = limits.trials is not None or limits.epochs is not None
    fits = (
        limited
        and (limits.trials is None or size <= limits.trials)
        and (limits.epochs is None or epochs + spent_epochs <= limits.epochs)
    )
    return GridCost(size=size, epochs=epochs, fits=fits)


def choose_sampler(
    name: str,
    space: Space,
    *,
    limits: BudgetLimits,
    rungs: Sequence[float],
    spent_epochs: float = 0.0,
) -> SamplerChoice:
    """The sampler that `name` stands for. `rungs`: what a trial has cost in epochs at the end of each.

    `auto` is the grid where the recipe names every value and all of them fit the budget, else Bayesian optimization
    with a Gaussian process. Raises RecipeError for a grid that is too large.
    """
    if name == "grid":
        check_grid_size(space)
    if name != "auto":
        return SamplerChoice(name=name, reason=None)
    cost = grid_cost(space, limits=limits, full_epochs=rungs[-1], spent_epochs=spent_epochs)
    if is_listed(space) and cost.size <= MAX_GRID and cost.fits:
        count = f"all {format_count(cost.size)} configurations" if cost.size > 1 else "the only configuration"
        return SamplerChoice(name="grid", reason=f"grid, since {count} of the space can be tried within the budget")
    return SamplerChoice(
        name="gp",
        reason="gp, Bayesian optimization, since it came closest to the best in the benchmark of docs/search.md",
    )


def grid_warning(
    space: Space, *, limits: BudgetLimits, rungs: Sequence[float], spent_epochs: float = 0.0
) -> str | None:
    """Where the budget ends before every configuration of a grid has been started."""
    size, most = grid_size(space), most_trials(limits, rungs, spent_epochs=spent_epochs)
    if size <= most:
        return None
    return (
        f"The grid has {format_count(size)} configurations, and the budget allows at most {format_count(most)} trials: "
        "a random part of the grid is tried."
    )


def most_trials(limits: BudgetLimits, rungs: Sequence[float], *, spent_epochs: float = 0.0) -> float:
    """How many trials the budget could start at most: each trains at least to the end of the first rung. Infinite where
    only time is limited."""
    by_epochs = math.inf if limits.epochs is None else max(0, math.floor((limits.epochs - spent_epochs) / rungs[0]))
    return min(by_epochs, math.inf if limits.trials is None else limits.trials)
