"""Ranges with steps, and integers on a logarithmic scale: exactly their values can be drawn."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from made_recipes import blobs_recipe

from probe.recipe.dump import dump_recipe
from probe.recipe.space import Range
from probe.recipe.values import check_step, is_step, num_steps, value_after
from probe.search.samplers.optuna_export import _distribution
from probe.search.samplers.registry import SAMPLER_NAMES, make_sampler
from probe.search.space.configurations import configurations, grid, is_listed, num_configurations
from probe.search.space.dimensions import build_space, central_params, params_near
from probe.search.space.space import (
    Axis,
    Space,
    axis_of,
    draw,
    params_at,
    positions_of,
    random_suggest,
)

quick = settings(deadline=None, max_examples=100)
DECIMALS = st.integers(-10_000, 10_000).map(lambda number: number / 100)
STEPS = st.integers(1, 1000).map(lambda number: number / 100)
WIDTHS = (8, 24, 40, 56)
RATES = (0.1, 0.2, 0.3)


def stepped_space() -> Space:
    return build_space(
        blobs_recipe(
            {"width": {"low": 8, "high": 56, "step": 16}, "dropout": {"low": 0.1, "high": 0.3, "step": 0.1}},
        )
    )


@quick
@given(DECIMALS, STEPS, st.integers(0, 50))
def test_steps_are_exact_decimals(low: float, step: float, count: int) -> None:
    value = value_after(low, step, count)
    assert value == round(low + count * step, 2)  # as it is written with two digits
    assert is_step(value, low, step)
    assert num_steps(low, value, step) == count
    check_step(low, value, step)
    assert not is_step(value + step / 3, low, step)


@quick
@given(DECIMALS, DECIMALS, STEPS)
def test_a_high_end_between_two_steps_is_refused_with_both(low: float, high: float, step: float) -> None:
    assume(low < high and not is_step(high, low, step))
    count = num_steps(low, high, step)
    assert value_after(low, step, count - 1) < high < value_after(low, step, count)
    with pytest.raises(ValueError, match="whole number of steps"):
        check_step(low, high, step)


@quick
@given(DECIMALS, STEPS, st.integers(1, 50), st.integers(0, 10**9))
def test_every_draw_is_a_step_and_comes_back_from_its_position(low: float, step: float, count: int, seed: int) -> None:
    high = value_after(low, step, count)
    space = build_space(blobs_recipe({"x": {"low": low, "high": high, "step": step}}))
    params = params_at(space, draw(space, random_suggest(seed)))
    value = params["x"]
    assert isinstance(value, float)
    assert low <= value <= high
    assert is_step(value, low, step)
    assert params_at(space, positions_of(space, params)) == params


def test_whole_numbers_stay_whole_and_every_configuration_is_counted() -> None:
    space = stepped_space()
    found = {(params["width"], params["dropout"]) for params in configurations(space)}
    assert found == {(width, rate) for width in WIDTHS for rate in RATES}
    assert {type(params["width"]) for params in configurations(space)} == {int}
    assert num_configurations(space) == len(grid(space)) == 12
    assert is_listed(space)
    assert central_params(space) == {"width": 24, "dropout": 0.2}
    assert params_near(space, 1.0, seed=0, num_drawn=0)[0] == {"width": 56, "dropout": 0.3}


@pytest.mark.parametrize("name", [name for name in SAMPLER_NAMES if name != "auto"])
def test_every_sampler_draws_steps_only(name: str) -> None:
    space = stepped_space()
    sampler = make_sampler(name, space, mode="max", seed=1)
    for number in range(12):
        positions = sampler.ask(number)
        params = params_at(space, positions)
        assert params["width"] in WIDTHS
        assert params["dropout"] in RATES
        sampler.tell(number, "scored", -abs(float(params["width"]) - 40))


def test_a_recipe_keeps_its_steps_and_checks_what_is_tried_by_hand() -> None:
    recipe = blobs_recipe({"width": {"low": 8, "high": 56, "step": 16}})
    entry = recipe.space["width"]
    assert isinstance(entry, Range)
    assert (entry.kind, entry.step) == ("int", 16)
    assert "step = 16" in dump_recipe(recipe)
    assert [entry.contains(value) for value in (8, 24, 56, 16, 72, 24.0, True)] == [True] * 3 + [False] * 4
    assert Range(low=0, high=1, step=0.5).kind == "float"


def test_a_trial_on_the_steps_is_exported_with_them() -> None:
    width, dropout = stepped_space().dimensions
    exported = _distribution(width, [8, 40])
    assert (exported.low, exported.high, exported.step) == (8, 56, 16)  # type: ignore[attr-defined]  # the base class has none
    assert _distribution(dropout, [0.1]).step == 0.1  # type: ignore[attr-defined]
    assert _distribution(dropout, [0.15]).step is None  # type: ignore[attr-defined]  # a starting configuration's own


@quick
@given(st.integers(1, 100), st.integers(1, 100), st.booleans(), st.integers(0, 10**9))
def test_whole_numbers_are_drawn_within_their_range(low: int, more: int, log: bool, seed: int) -> None:
    drawn = random_suggest(seed)(Axis(name="x", kind="int", low=low, high=low + more, log=log))
    assert isinstance(drawn, int)
    assert low <= drawn <= low + more


@pytest.mark.parametrize("log", [False, True])
def test_both_ends_of_whole_numbers_are_drawn_as_often_as_their_width(log: bool) -> None:
    suggest, axis = random_suggest(0), Axis(name="x", kind="int", low=1, high=4, log=log)
    counts = Counter(suggest(axis) for _ in range(4000))
    weights = {x: math.log((x + 0.5) / (x - 0.5)) if log else 1.0 for x in (1, 2, 3, 4)}
    for number, weight in weights.items():
        expected = 4000 * weight / sum(weights.values())
        assert abs(counts[number] - expected) < 5 * math.sqrt(expected)
    assert axis_of(stepped_space().dimensions[0]).kind == "int"
