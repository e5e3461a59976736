from __future__ import annotations

import math

import pytest

from probe.errors import RecipeError
from probe.search.records.search import BudgetLimits, Dimension
from probe.search.samplers.auto_sampler import choose_sampler, grid_cost, grid_warning, most_trials
from probe.search.space.space import Space

WIDTH = Dimension(name="width", kind="choices", choices=(4, 8))
DEPTH = Dimension(name="depth", kind="int", low=1, high=3)
LR = Dimension(name="lr", kind="float", low=1e-3, high=1.0, log=True)
MOMENTUM = Dimension(name="momentum", kind="float", low=0.5, high=0.9, when={"width": 4})
RUNGS = (1, 3, 9)


def chosen(*dimensions: Dimension, name: str = "auto", spent_epochs: float = 0.0, **limits: float) -> tuple[str, str]:
    choice = choose_sampler(
        name,
        Space(dimensions=dimensions, constants={}),
        limits=BudgetLimits(**limits),  # type: ignore[arg-type]
        rungs=RUNGS,
        spent_epochs=spent_epochs,
    )
    return choice.name, choice.reason or ""


def test_a_grid_that_fits_the_budget_is_tried_whole() -> None:
    assert chosen(WIDTH, DEPTH, epochs=54) == (
        "grid",
        "grid, since all 6 configurations of the space can be tried within the budget",
    )
    assert chosen(WIDTH, DEPTH, epochs=54, spent_epochs=1)[0] == "gp"
    assert chosen(WIDTH, DEPTH, epochs=53)[0] == "gp"
    assert chosen(WIDTH, DEPTH, trials=6)[0] == "grid"
    assert chosen(WIDTH, DEPTH, trials=5)[0] == "gp"
    assert chosen(WIDTH, DEPTH, time_seconds=1e9)[0] == "gp"  # how many fit is not known
    assert chosen(epochs=9) == (
        "grid",
        "grid, since the only configuration of the space can be tried within the budget",
    )


def test_a_range_is_no_grid_unless_the_recipe_says_so() -> None:
    assert chosen(WIDTH, LR, trials=50)[0] == "gp"
    fixed = Dimension(name="lr", kind="float", low=1e-3, high=1.0, log=True, steps=4)
    assert chosen(WIDTH, fixed, trials=50)[0] == "grid"


def test_everything_else_is_for_bayesian_optimization() -> None:
    for space in ((LR, DEPTH), (LR, WIDTH), (WIDTH, MOMENTUM)):
        for limits in ({"epochs": 60}, {"epochs": 50_000}, {"time_seconds": 60.0}, {"trials": 9}):
            name, reason = chosen(*space, **limits)
            assert name == "gp"
            assert reason.startswith("gp, Bayesian optimization, ")


def test_a_sampler_that_is_named_is_taken() -> None:
    assert chosen(WIDTH, name="qmc", trials=9) == ("qmc", "")
    assert chosen(WIDTH, LR, name="grid", trials=9) == ("grid", "")
    huge = [Dimension(name=f"x{number}", kind="choices", choices=tuple(range(10))) for number in range(9)]
    with pytest.raises(RecipeError, match="1,000,000,000 configurations"):
        chosen(*huge, name="grid", trials=9)
    assert chosen(*huge, trials=9)[0] == "gp"  # auto never fails on a grid


def test_what_a_grid_costs_and_what_the_budget_leaves_of_it() -> None:
    space = Space(dimensions=(WIDTH, DEPTH), constants={})
    cost = grid_cost(space, limits=BudgetLimits(epochs=50), full_epochs=9)
    assert (cost.size, cost.epochs, cost.fits) == (6, 54, False)
    assert grid_warning(space, limits=BudgetLimits(epochs=50), rungs=RUNGS) is None  # each can be started
    assert grid_warning(space, limits=BudgetLimits(epochs=5), rungs=RUNGS) == (
        "The grid has 6 configurations, and the budget allows at most 5 trials: a random part of the grid is tried."
    )
    assert math.isinf(most_trials(BudgetLimits(time_seconds=5), RUNGS))
    assert most_trials(BudgetLimits(epochs=0.5), RUNGS) == 0
