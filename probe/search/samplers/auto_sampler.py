"""Chooses the sampler for `auto`, and checks whether a grid fits the budget. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from probe.limits import MAX_GRID
from probe.search.records.search import BudgetLimits
from probe.search.space.configurations import MAX_COUNTED, check_grid_size, grid_epochs, grid_size, is_listed
from probe.search.space.space import Space
from probe.units import format_count

NOTHING_SEARCHED = (
    "[space] leaves nothing to search: one configuration is trained. Give a hyperparameter a range or choices, "
    "or train the configuration with `probe train`."
)
NOT_LEARNING = ("grid", "random", "qmc")
"""Names of the samplers that do not use scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerChoice:
    """The sampler of a search."""

    name: str
    reason: str | None
    """Why `auto` chose this sampler; None if the recipe names the sampler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridCost:
    """Cost of training every configuration of a grid to the end."""

    size: int
    epochs: float
    fits: bool
    """Whether it fits the budget's limits on trials and epochs; False if the budget has neither."""


def grid_cost(space: Space, *, limits: BudgetLimits, full_epochs: float, spent_epochs: float = 0.0) -> GridCost:
    """The cost of a grid, if one complete training costs `full_epochs` and the probes have spent `spent_epochs`."""
    size, epochs = min(grid_size(space), MAX_COUNTED), grid_epochs(space, full_epochs)
    limited = limits.trials is not None or limits.epochs is not None
    fits = (
        limited
        and (limits.trials is None or size <= limits.trials)
        and (limits.epochs is None or epochs + spent_epochs <= limits.epochs)
    )
    return GridCost(size=size, epochs=epochs, fits=fits)


def choose_sampler(
    name: str, space: Space, *, limits: BudgetLimits, rungs: Sequence[float], spent_epochs: float = 0.0
) -> SamplerChoice:
    """The sampler for `search.sampler` of a recipe. `auto` chooses the grid if the recipe lists every value and all
    configurations fit the budget; otherwise `gp`. `rungs`: total cost in epochs of a trial up to the end of each rung.
    Raises RecipeError if the grid is too large."""
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
    """A warning if the budget ends before every configuration of a grid has been started; otherwise None."""
    size, most = grid_size(space), most_trials(limits, rungs, spent_epochs=spent_epochs)
    if size <= most:
        return None
    return (
        f"The grid has {format_count(size)} configurations, and the budget allows at most {format_count(most)} trials: "
        "a random part of the grid is tried."
    )


def most_trials(limits: BudgetLimits, rungs: Sequence[float], *, spent_epochs: float = 0.0) -> float:
    """The largest number of trials that the budget can start; infinite if only time is limited."""
    by_epochs = math.inf if limits.epochs is None else max(0, math.floor((limits.epochs - spent_epochs) / rungs[0]))
    return min(by_epochs, math.inf if limits.trials is None else limits.trials)
