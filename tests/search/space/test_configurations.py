from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice

import pytest
from finite_spaces import FINITE, NARROW
from hypothesis import given, settings
from hypothesis import strategies as st
from made_spaces import SPACE

from probe.errors import RecipeError
from probe.limits import MAX_GRID
from probe.recipe.values import num_steps, value_after
from probe.recipe.when import Bounds, Condition
from probe.search.records.search import Dimension
from probe.search.space.configurations import (
    GRID_STEPS,
    MAX_LISTED,
    configurations,
    grid,
    grid_epochs,
    grid_positions,
    grid_size,
    is_listed,
    listed_configurations,
    num_configurations,
    on_grid,
    with_fixed,
)
from probe.search.space.space import Space, configuration_key, draw, params_at, positions_of, random_suggest

quick = settings(deadline=None, max_examples=60)


def one(**dimension: object) -> Space:
    return Space(dimensions=(Dimension(name="x", **dimension),), constants={})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("space", "size"),
    [
        (FINITE, 3 * (2 + 1) * 3),
        (NARROW, 11 + 4),  # 0.0999, 0.09991, ... 0.1; 0.0001, ... 0.0001003
        (Space(dimensions=(), constants={"lr": 0.1}), 1),
        (one(kind="float", low=0.9, high=0.99), 901),
        (
            one(kind="float", low=0.12344, high=0.12346),
            2,
        ),  # rounded, and kept within the range: 0.12344, 0.1235 -> 0.12346
        (one(kind="float", low=-1.001, high=-0.9999), 3),
        (one(kind="float", low=0.3, high=0.3), 1),
        (one(kind="float", low=0.0, high=0.1), None),
        (one(kind="float", low=1e-5, high=1e-1, log=True), None),
        (one(kind="int", low=0, high=10**9), None),
        (one(kind="int", low=0, high=MAX_LISTED - 1), MAX_LISTED),
        (one(kind="int", low=0, high=MAX_LISTED), None),
    ],
)
def test_distinct_configurations_are_counted(space: Space, size: int | None) -> None:
    assert num_configurations(space) == size
    first = list(islice(configurations(space), 2000))
    assert len({configuration_key(params) for params in first}) == len(first)


def test_choices_that_exist_under_conditions_multiply_nothing_elsewhere() -> None:
    """Every combination of the choices would be 10 to the power of 5."""
    kinds = tuple(range(10))
    own = (Dimension(name=f"only_{kind}", kind="choices", choices=kinds, when={"kind": kind}) for kind in range(4))
    space = Space(dimensions=(Dimension(name="kind", kind="choices", choices=kinds), *own), constants={})
    assert num_configurations(space) == 4 * 10 + 6


@quick
@given(st.integers(0, 10**6), st.sampled_from([FINITE, NARROW, one(kind="float", low=-0.0123, high=-0.0117)]))
def test_every_draw_is_among_them_and_each_comes_back_from_its_positions(seed: int, space: Space) -> None:
    listed = listed_configurations(space)
    assert listed is not None
    keys = {configuration_key(params) for params in listed}
    assert configuration_key(params_at(space, draw(space, random_suggest(seed)))) in keys
    params = listed[seed % len(listed)]
    assert configuration_key(params_at(space, positions_of(space, params))) == configuration_key(params)


def test_a_part_of_the_space_keeps_what_was_given() -> None:
    part = with_fixed(FINITE, {"width": 7, "momentum": 0.5, "l2": 1.0})
    found = listed_configurations(part)
    assert found is not None
    assert len(found) == 2 * 3
    assert all(params["width"] == 7 and params["l2"] == 1.0 for params in found)
    assert {params.get("momentum") for params in found} == {0.5, None}


quick = settings(deadline=None, max_examples=100)
KINDS = st.sampled_from(["float", "int", "pow2", "stepped", "choices"])
STEPS = st.none() | st.integers(2, 4)


def conditions_on(dimension: Dimension) -> st.SearchStrategy[Condition]:
    if dimension.kind == "choices":
        return st.lists(st.sampled_from(dimension.choices), min_size=1, unique=True).map(tuple)
    return st.builds(Bounds, min=st.integers(0, 5)) | st.builds(Bounds, max=st.floats(0.5, 5))


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Up to five dimensions, some of which exist only with values of those above them, nested ones included."""
    dimensions: list[Dimension] = []
    for index in range(draw(st.integers(0, 5))):
        when = None
        if dimensions:
            picked = draw(st.lists(st.sampled_from(dimensions), max_size=2, unique_by=lambda one: one.name))
            when = {dimension.name: draw(conditions_on(dimension)) for dimension in picked} or None
        name, steps = f"x{index}", draw(STEPS)
        kind = draw(KINDS)
        if kind == "choices":
            choices = tuple(f"c{number}" for number in range(draw(st.integers(1, 3))))
            dimensions.append(Dimension(name=name, kind="choices", choices=choices, when=when))
        elif kind == "pow2":
            high = float(2 ** draw(st.integers(0, 4)))
            dimensions.append(Dimension(name=name, kind="pow2", low=1.0, high=high, when=when, steps=steps))
        elif kind == "stepped":
            step = draw(st.sampled_from([3.0, 0.1]))
            high = value_after(1.0, step, draw(st.integers(0, 5)))
            of_numbers = Dimension(name=name, kind="int" if step == 3.0 else "float", low=1.0, high=high)
            dimensions.append(replace(of_numbers, when=when, step=step))
        elif kind == "int":
            high = float(draw(st.integers(1, 9)))
            log = draw(st.booleans())
            dimensions.append(Dimension(name=name, kind="int", low=1.0, high=high, log=log, when=when, steps=steps))
        else:
            log = draw(st.booleans())
            dimensions.append(Dimension(name=name, kind="float", low=0.1, high=7.0, log=log, when=when, steps=steps))
    return Space(dimensions=tuple(dimensions), constants={"fixed": 1})


@quick
@given(spaces())
def test_the_size_is_what_the_grid_has_and_no_configuration_comes_twice(space: Space) -> None:
    size = grid_size(space)
    if size > MAX_GRID:
        return
    points = grid(space)
    assert len(points) == size == len({on_grid(space, point) for point in points})
    for point in points[:20]:  # as a start point would name it
        assert positions_of(space, params_at(space, point)) == point


@quick
@given(spaces())
def test_the_points_of_a_dimension_lie_in_it_with_both_ends(space: Space) -> None:
    for dimension in space.dimensions:
        points = grid_positions(dimension)
        assert len(set(points)) == len(points) >= 1
        if dimension.kind == "choices":
            assert points == dimension.choices
            continue
        numbers = [float(point) for point in points]
        low, high = dimension.low or 0.0, dimension.high or 0.0
        ends = (math.log2(low), math.log2(high)) if dimension.kind == "pow2" else (low, high)
        if dimension.step is not None:
            ends = (0, num_steps(low, high, dimension.step))
        assert (numbers[0], numbers[-1]) == ends
        assert numbers == sorted(numbers)
        assert dimension.steps is None or len(numbers) <= dimension.steps


def test_what_a_grid_takes_where_the_recipe_says_nothing() -> None:
    lr = Dimension(name="lr", kind="float", low=1e-5, high=1e-1, log=True)
    assert grid_positions(lr) == pytest.approx((1e-5, 1e-4, 1e-3, 1e-2, 1e-1))
    assert grid_positions(Dimension(name="n", kind="int", low=1, high=4)) == (1, 2, 3, 4)
    assert grid_positions(Dimension(name="n", kind="int", low=1, high=100)) == (1, 26, 50, 75, 100)
    assert grid_positions(Dimension(name="n", kind="int", low=1, high=100, log=True)) == (1, 3, 10, 32, 100)
    assert grid_positions(Dimension(name="b", kind="pow2", low=1, high=256)) == tuple(range(9))
    assert grid_positions(Dimension(name="b", kind="pow2", low=1, high=256, steps=3)) == (0, 4, 8)
    assert grid_positions(Dimension(name="lr", kind="float", low=0.1, high=0.1)) == (0.1,)


def test_a_hyperparameter_that_does_not_exist_multiplies_nothing() -> None:
    # 4 batch sizes, 4 depths, 5 weight decays, 5 learning rates; 5 momenta with sgd, none with adam.
    assert grid_size(SPACE) == 4 * 4 * 5 * 5 * (GRID_STEPS + 1)


def test_the_size_of_a_huge_grid_is_known_at_once_and_it_is_refused() -> None:
    dimensions = tuple(
        Dimension(name=f"x{number}", kind="choices", choices=tuple(range(10)), when={"x0": 3} if number > 30 else None)
        for number in range(40)
    )
    space = Space(dimensions=dimensions, constants={})
    assert grid_size(space) == 10**30 * (9 + 10**9)
    with pytest.raises(RecipeError, match=r"x0 10 × x1 10 .* x39 10 \(conditional\)") as caught:
        grid(space)
    assert "fewer steps" in (caught.value.hint or "")


def test_a_space_is_listed_where_its_grid_leaves_nothing_out_or_is_asked_for() -> None:
    def listed(*dimensions: Dimension) -> bool:
        return is_listed(Space(dimensions=dimensions, constants={}))

    choices = Dimension(name="c", kind="choices", choices=("a", "b"))
    assert listed()
    assert listed(choices, Dimension(name="n", kind="int", low=1, high=5))
    assert not listed(choices, Dimension(name="n", kind="int", low=1, high=6))
    assert not listed(choices, Dimension(name="x", kind="float", low=0, high=1))
    assert listed(choices, Dimension(name="x", kind="float", low=0, high=1, steps=2))


@quick
@given(spaces(), st.lists(st.integers(1, 30), min_size=1, max_size=3, unique=True), st.integers(0, 5))
def test_a_grid_costs_the_sum_of_its_configurations_own_epochs(space: Space, lengths: list[int], at: int) -> None:
    dimensions = list(space.dimensions)
    dimensions.insert(min(at, len(dimensions)), Dimension(name="epochs", kind="choices", choices=tuple(lengths)))
    longer = Space(dimensions=tuple(dimensions), constants=space.constants)
    if grid_size(longer) <= 2000:
        assert grid_epochs(longer, max(lengths)) == sum(int(point["epochs"]) for point in grid(longer))
    assert grid_epochs(space, 7) == 7 * grid_size(space)


@pytest.mark.parametrize(("low", "high"), [(-0.02, 0.03), (0.0, 0.01), (-0.01, 0.0)])
def test_numbers_around_zero_stay_in_their_range_and_do_not_repeat(low: float, high: float) -> None:
    width = 1e-4
    space = one(kind="float", low=low * width, high=high * width)
    found = [params["x"] for params in islice(configurations(space), 50)]
    assert all(low * width <= float(value) <= high * width for value in found)
    assert len(set(found)) == len(found)
