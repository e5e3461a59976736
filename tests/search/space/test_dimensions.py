from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_recipes import blobs_recipe, digits_recipe

from probe.recipe.space import ProbedLr
from probe.search.records.search import Dimension, ParamValue
from probe.search.space.dimensions import (
    batch_dimension,
    build_space,
    central_params,
    expected_space,
    lr_range,
    optimizers_of,
    params_near,
    usual_lr,
    usual_starts,
)
from probe.search.space.space import Space, params_at, positions_of

quick = settings(deadline=None, max_examples=100)
RANGES = {"sgd": (0.01, 1.0), "adam": (1e-4, 1e-2)}


@quick
@given(st.integers(1, 100_000))
def test_batch_sizes_are_powers_of_two_within_what_fits(ceiling: int) -> None:
    dimension = batch_dimension("batch_size", ceiling)
    low, high = int(dimension.low or 0), int(dimension.high or 0)
    assert 1 <= low <= high <= ceiling < 2 * high
    assert low.bit_count() == high.bit_count() == 1
    assert low <= 32
    assert low >= min(8, high)
    assert high <= 8 * low or low == 8 or low == 32


@quick
@given(st.floats(1e-5, 10), st.floats(0, 3), st.floats(0.1, 3))
def test_an_lr_range_holds_its_suggestion_and_stays_in_what_was_tested(lr: float, below: float, above: float) -> None:
    entry = ProbedLr(probe="range_test", below=below, above=above)
    low, high = lr_range(entry, lr, lowest=1e-5, highest=10.0)
    assert 1e-5 * (1 - 1e-3) <= low <= lr * (1 + 1e-3)
    assert lr * (1 - 1e-3) <= high <= 10.0


def test_the_recipes_order_is_kept_but_the_optimizer_comes_before_its_lr() -> None:
    space = build_space(digits_recipe(), largest_batch=1024, lr_ranges=RANGES)
    assert [dimension.name for dimension in space.dimensions] == ["optimizer", "lr", "momentum", "batch_size", "width"]
    by_name = {dimension.name: dimension for dimension in space.dimensions}
    assert by_name["batch_size"].high == 64  # the recipe's max
    assert by_name["lr"].per == RANGES
    assert (by_name["lr"].low, by_name["lr"].high) == (1e-4, 1.0)
    assert by_name["momentum"].when == {"optimizer": "sgd"}


def test_one_range_for_all_needs_no_optimizer() -> None:
    space = build_space(digits_recipe(), largest_batch=16, lr_ranges={"": (0.01, 0.1)})
    lr = space.dimensions[0]
    assert (lr.name, lr.per, lr.low, lr.high) == ("lr", None, 0.01, 0.1)


def test_probes_see_the_middle_and_the_upper_end_of_the_space() -> None:
    space = build_space(digits_recipe(), largest_batch=64)
    assert central_params(space, optimizer="sgd") == {
        "optimizer": "sgd",
        "momentum": pytest.approx(0.725),
        "batch_size": 16,
        "width": 32,
    }
    assert central_params(space, optimizer="adam") == {"optimizer": "adam", "batch_size": 16, "width": 32}
    assert params_near(build_space(digits_recipe()), 1.0, seed=0, num_drawn=0)[0]["width"] == 64


@quick
@given(st.integers(0, 1000), st.sampled_from([0.5, 1.0]), st.sampled_from(["sgd", "adam"]))
def test_other_configurations_to_probe_come_nearest_first_and_are_whole(
    seed: int, share: float, optimizer: str
) -> None:
    space = build_space(digits_recipe(), largest_batch=64)
    corner, *others = params_near(space, share, seed=seed, num_drawn=8, optimizer=optimizer, batch_size=32)
    assert corner == params_near(space, share, seed=seed + 1, num_drawn=0, optimizer=optimizer, batch_size=32)[0]
    for params in others:
        assert (params["optimizer"], params["batch_size"]) == (optimizer, 32)
        assert ("momentum" in params) == (optimizer == "sgd")
        assert params == params_at(space, positions_of(space, params))
    widths = [abs(math.log2(float(params["width"])) - 4 - 2 * share) / 2 for params in others]
    if optimizer == "adam":  # width alone differs
        assert widths == sorted(widths)


def test_a_search_starts_with_usual_values_and_in_the_middle_of_what_its_range_tests_left() -> None:
    space = build_space(digits_recipe(), largest_batch=64, lr_ranges={"sgd": (0.01, 1.0), "adam": (1e-4, 0.01)})
    sgd, adam = usual_starts(space, ("sgd", "adam"))
    assert sgd == {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "batch_size": 16, "width": 32}
    assert adam == {"optimizer": "adam", "lr": 0.001, "batch_size": 16, "width": 32}
    [alone] = usual_starts(build_space(blobs_recipe(), lr_ranges={"": (0.01, 1.0)}), ("",))
    assert alone["lr"] == pytest.approx(0.1)
    assert not {"optimizer"} & alone.keys()


def test_usual_values_are_those_of_the_optimizer_and_lie_inside_the_ranges() -> None:
    lr = Dimension(name="lr", kind="float", low=1e-4, high=0.5, log=True)
    momentum = Dimension(name="momentum", kind="float", low=0.5, high=0.99, when={"optimizer": "sgd"})
    decay = Dimension(name="weight_decay", kind="float", low=1e-6, high=0.1, log=True)
    batch = Dimension(name="batch_size", kind="pow2", low=64, high=256)
    dropout = Dimension(name="dropout", kind="float", low=0.0, high=0.5, step=0.25)

    def start(optimizer: str) -> dict[str, ParamValue]:
        space = Space(dimensions=(lr, momentum, decay, batch, dropout), constants={"optimizer": optimizer})
        [found] = usual_starts(space, ())
        return found

    assert start("sgd") == {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4, "batch_size": 128, "dropout": 0.0}
    assert start("adamw") == {"lr": 1e-3, "weight_decay": 0.01, "batch_size": 128, "dropout": 0.0}
    [unknown] = usual_starts(Space(dimensions=(lr,), constants={}), ())
    assert unknown["lr"] == pytest.approx(math.sqrt(1e-4 * 0.5), rel=1e-3)


def test_optimizers_are_the_spaces_or_the_tasks_own() -> None:
    assert optimizers_of(digits_recipe(), "adamw") == ("sgd", "adam")
    assert optimizers_of(blobs_recipe(), "adamw") == ("adamw",)
    assert optimizers_of(blobs_recipe({"optimizer": "sgd"}), "adamw") == ("sgd",)
    assert optimizers_of(blobs_recipe(), None) == ()


def test_before_the_probes_usual_ranges_are_expected() -> None:
    by_name = {one.name: one for one in expected_space(digits_recipe()).dimensions}
    assert list(by_name) == ["optimizer", "lr", "momentum", "batch_size", "width"]
    assert by_name["batch_size"].high == 64  # the recipe's own bound
    per = by_name["lr"].per
    assert per is not None
    assert {name: low < usual_lr(name) < high for name, (low, high) in per.items()} == {"sgd": True, "adam": True}
    assert per["adam"][1] < per["sgd"][1]
    bounded = expected_space(digits_recipe(batch={"max": 16}))
    assert {one.name: one.high for one in bounded.dimensions}["batch_size"] == 16
    one_range = {"lr": {"probe": "range_test"}, "batch_size": {"probe": "max_batch"}}
    lr, batch = expected_space(digits_recipe(space=one_range, start=[])).dimensions
    assert lr.per is None
    assert (batch.high or 0) > 64


def test_a_recipe_without_probes_is_the_space_that_it_names() -> None:
    recipe = blobs_recipe()
    assert expected_space(recipe) == build_space(recipe)
