from __future__ import annotations

import math

import pytest
from finite_spaces import FINITE, NARROW
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.errors import RecipeError
from probe.search.records.search import Dimension, ParamValue
from probe.search.space.configurations import configurations, num_configurations
from probe.search.space.space import Space, configuration_key, draw, params_at, positions_of, random_suggest
from probe.search.study.tried import TriedConfigurations

LARGE = Space(
    dimensions=tuple(Dimension(name=f"x{number}", kind="choices", choices=tuple(range(8))) for number in range(5)),
    constants={},
)
"""Too many to list: 8 to the power of 5."""


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([FINITE, NARROW]))
def test_every_configuration_is_picked_once_and_then_none(seed: int, space: Space) -> None:
    tried, found = TriedConfigurations(space, ()), set()
    positions = draw(space, random_suggest(seed))
    size = num_configurations(space) or 0
    for turn in range(size):
        assert tried.num_left == size - turn
        params = tried.pick_another(positions, seed=seed + turn)
        assert params not in tried
        tried.add(params)
        found.add(configuration_key(params))
    assert found == {configuration_key(params) for params in configurations(space)}
    assert tried.num_left == 0
    with pytest.raises(RecipeError, match="has been tried"):
        tried.pick_another(positions, seed=seed)


def test_the_end_of_a_space_too_large_to_list_is_seen() -> None:
    tried = TriedConfigurations(LARGE, ())
    last = list(configurations(LARGE))[20_000]
    for params in configurations(LARGE):
        if params != last:
            tried.add(params)
    assert tried.num_left == math.inf
    assert tried.pick_another(positions_of(LARGE, dict.fromkeys(last, 0)), seed=1) == last
    tried.add(last)
    assert tried.num_left == 0


def test_another_one_is_like_the_one_that_was_tried_and_a_function_of_the_seed() -> None:
    tried = TriedConfigurations(LARGE, ())
    positions = dict.fromkeys(last := [f"x{number}" for number in range(5)], 3)
    tried.add(params_at(LARGE, positions))
    others = [tried.pick_another(positions, seed=seed) for seed in range(40)]
    assert all(sum(other[name] != 3 for name in last) == 1 for other in others)
    assert len({configuration_key(other) for other in others}) > 20
    assert others[7] == tried.pick_another(positions, seed=7)


def test_a_start_point_is_completed_to_something_new_where_that_is_possible() -> None:
    tried, seen = TriedConfigurations(FINITE, ()), []
    for seed in range(10):  # sgd with 0.9: nine configurations, the tenth is tried again
        params = tried.complete({"optimizer": "sgd", "momentum": 0.9}, seed=seed)
        assert (params["optimizer"], params["momentum"]) == ("sgd", 0.9)
        seen.append(configuration_key(params))
        tried.add(params)
    assert len(set(seen[:9])) == 9
    assert seen[9] in seen[:9]
    whole: dict[str, ParamValue] = {"optimizer": "adam", "width": 4, "dropout": 0.25}
    assert [tried.complete(whole, seed=seed) for seed in (0, 1)] == [{**whole, "l2": 0.0}] * 2
