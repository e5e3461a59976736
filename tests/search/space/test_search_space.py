from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_spaces import SPACE

from probe.search.records.search import Dimension, ParamValue
from probe.search.space.space import (
    Space,
    axis_of,
    complete,
    draw,
    is_active,
    params_at,
    positions_of,
    random_suggest,
)

quick = settings(deadline=None, max_examples=100)


def draw_params(seed: int, space: Space = SPACE) -> dict[str, ParamValue]:
    return params_at(space, draw(space, random_suggest(seed)))


@quick
@given(st.integers(0, 10**9))
def test_every_draw_lies_in_the_space(seed: int) -> None:
    params = draw_params(seed)
    assert params["batch_size"] in (8, 16, 32, 64)
    low, high = {"sgd": (1e-2, 1.0), "adam": (1e-4, 1e-2)}[str(params["optimizer"])]
    assert low <= float(params["lr"]) <= high
    assert ("momentum" in params) == (params["optimizer"] == "sgd")
    assert params["depth"] in (1, 2, 3, 4)
    assert isinstance(params["depth"], int)
    assert 1e-6 <= float(params["weight_decay"]) <= 1e-2
    assert params["dropout"] == 0.1


@quick
@given(st.integers(0, 10**9))
def test_positions_and_values_are_inverse(seed: int) -> None:
    params = draw_params(seed)
    again = params_at(SPACE, positions_of(SPACE, params))
    for name, value in params.items():
        if isinstance(value, float):
            assert again[name] == pytest.approx(value, rel=1e-3)
        else:
            assert again[name] == value


@quick
@given(st.floats(0, 1), st.floats(0, 1))
def test_the_lr_position_is_the_share_of_the_optimizers_own_range(one: float, other: float) -> None:
    positions: dict[str, ParamValue] = {"log2_batch_size": 3, "depth": 1, "weight_decay": 1e-3, "momentum": 0.9}
    lrs = {
        optimizer: [
            float(params_at(SPACE, {**positions, "optimizer": optimizer, "lr@position": at})["lr"])
            for at in (one, other)
        ]
        for optimizer in ("sgd", "adam")
    }
    for at, sgd, adam in zip((one, other), lrs["sgd"], lrs["adam"], strict=True):
        assert sgd / adam == pytest.approx(100, rel=2e-3)
        assert math.log10(sgd) == pytest.approx(-2 + 2 * at, abs=1e-3)


@quick
@given(st.integers(0, 1000), st.floats(1e-5, 10))
def test_a_start_point_keeps_what_it_says_and_draws_the_rest(seed: int, lr: float) -> None:
    params = complete(SPACE, {"lr": lr, "momentum": 0.7}, seed=seed)
    assert params["lr"] == lr  # even outside of the probed range: the user asked for it
    assert params.get("momentum", 0.7) == 0.7
    assert ("momentum" in params) == (params["optimizer"] == "sgd")
    assert 0 <= float(positions_of(SPACE, params)["lr@position"]) <= 1
    without = complete(SPACE, {}, seed=seed)
    assert {k: v for k, v in params.items() if k not in ("lr", "momentum")} == {
        k: v for k, v in without.items() if k not in ("lr", "momentum")
    }


def test_conditions_tell_true_from_one() -> None:
    dimension = Dimension(name="x", kind="float", low=0, high=1, when={"flag": True})
    assert is_active(dimension, {"flag": True})
    assert not is_active(dimension, {"flag": 1})
    assert not is_active(dimension, {})


def test_axes_suit_their_dimensions() -> None:
    axes = {axis.name: axis for axis in map(axis_of, SPACE.dimensions)}
    assert (axes["log2_batch_size"].kind, axes["log2_batch_size"].low, axes["log2_batch_size"].high) == ("int", 3, 6)
    assert (axes["lr@position"].low, axes["lr@position"].high) == (0, 1)
    assert axes["weight_decay"].log
