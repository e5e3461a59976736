from __future__ import annotations

from itertools import islice

import pytest
from finite_spaces import FINITE, NARROW
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.search.records.search import Dimension
from probe.search.space.configurations import (
    MAX_LISTED,
    configurations,
    listed_configurations,
    num_configurations,
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


@pytest.mark.parametrize(("low", "high"), [(-0.02, 0.03), (0.0, 0.01), (-0.01, 0.0)])
def test_numbers_around_zero_stay_in_their_range_and_do_not_repeat(low: float, high: float) -> None:
    width = 1e-4
    space = one(kind="float", low=low * width, high=high * width)
    found = [params["x"] for params in islice(configurations(space), 50)]
    assert all(low * width <= float(value) <= high * width for value in found)
    assert len(set(found)) == len(found)
