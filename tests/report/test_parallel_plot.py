"""Parallel coordinates: where lines go, what stands beside the axes."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from made_records import plain_search_result, search_result, trial
from record_strategies import search_results

from probe.report.search.parallel_plot import ABSENT, MAX_AXES, MAX_LINES, SPREAD, ParallelAxis, parallel_layout
from probe.search.records.search import Dimension, Importance, SearchResult


def two_trials(space: tuple[Dimension, ...], *configurations: dict[str, Any], **changes: Any) -> SearchResult:
    """Trials with these hyperparameters, each better than the one before."""
    draw = Random(0)
    one = trial(4, draw)
    trials = [
        replace(one, number=number, params=params, value=0.5 + number / 10)
        for number, params in enumerate(configurations)
    ]
    return plain_search_result(*trials, space=space, **changes)


def axis_of(result: SearchResult, name: str) -> tuple[ParallelAxis, list[float]]:
    layout = parallel_layout(result)
    assert layout is not None
    index = [axis.name for axis in layout.axes].index(name)
    return layout.axes[index], [line.positions[index] for line in layout.lines]


def test_a_logarithmic_range_has_its_decades_evenly_spaced() -> None:
    lr = Dimension(name="lr", kind="float", low=1e-4, high=1.0, log=True)
    axis, places = axis_of(two_trials((lr,), {"lr": 1e-4}, {"lr": 0.01}, {"lr": 1.0}), "lr")
    assert places == pytest.approx([1.0, 0.5, 0.0])  # the best first
    assert [label for _, label in axis.ticks] == ["0.0001", "0.001", "0.01", "0.1", "1"]
    assert [height for height, _ in axis.ticks] == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def test_choices_stand_apart_in_their_order_the_first_on_top() -> None:
    optimizer = Dimension(name="optimizer", kind="choices", choices=("sgd", "adam", "rmsprop"))
    axis, places = axis_of(two_trials((optimizer,), {"optimizer": "adam"}, {"optimizer": "rmsprop"}), "optimizer")
    assert axis.ticks == ((1.0, "sgd"), (0.5, "adam"), (0.0, "rmsprop"))
    assert places == [pytest.approx(0.0, abs=1.01 * SPREAD), pytest.approx(0.5, abs=1.01 * SPREAD)]


def test_powers_of_two_are_evenly_spaced_and_whole_numbers_are_labelled_as_such() -> None:
    width = Dimension(name="width", kind="pow2", low=8, high=64)
    layers = Dimension(name="layers", kind="int", low=1, high=3)
    result = two_trials((width, layers), {"width": 8, "layers": 1}, {"width": 64, "layers": 3})
    assert [label for _, label in axis_of(result, "width")[0].ticks] == ["8", "16", "32", "64"]
    assert [label for _, label in axis_of(result, "layers")[0].ticks] == ["1", "2", "3"]


def test_a_hyperparameter_that_a_trial_does_not_have_is_passed_below() -> None:
    momentum = Dimension(name="momentum", kind="float", low=0.5, high=0.9, when={"optimizer": "sgd"})
    axis, places = axis_of(two_trials((momentum,), {}, {"momentum": 0.7}), "momentum")
    assert axis.has_absent
    assert places == [pytest.approx(0.5), pytest.approx(ABSENT, abs=1.01 * SPREAD)]


@pytest.mark.parametrize("mode", ["max", "min"])
def test_better_values_are_on_top_and_the_winner_is_the_first_line(mode: str) -> None:
    width = Dimension(name="width", kind="pow2", low=8, high=64)
    result = two_trials((width,), {"width": 8}, {"width": 16}, {"width": 64}, mode=mode, best=None)
    _, places = axis_of(result, "validation accuracy")
    assert places == pytest.approx([1.0, 0.5, 0.0])
    layout = parallel_layout(result)
    assert layout is not None
    assert [line.number for line in layout.lines] == ([2, 1, 0] if mode == "max" else [0, 1, 2])
    assert [line.third for line in layout.lines] == [0, 1, 2]


def test_a_value_outside_of_the_range_widens_it() -> None:
    width = Dimension(name="width", kind="float", low=1.0, high=2.0)
    axis, places = axis_of(two_trials((width,), {"width": 1.0}, {"width": 5.0}), "width")
    assert places == [1.0, 0.0]
    assert axis.ticks[-1] == (1.0, "5")


def test_of_many_trials_an_even_selection_with_the_winner_is_drawn() -> None:
    result = search_result(num_trials=200)
    layout = parallel_layout(result)
    assert layout is not None
    assert result.best is not None
    assert len(layout.lines) == MAX_LINES < layout.num_trials
    assert len({line.number for line in layout.lines}) == MAX_LINES
    assert layout.lines[0].number == result.best.number


def test_of_many_hyperparameters_the_most_important_are_drawn_in_their_order() -> None:
    space = tuple(Dimension(name=f"p{number}", kind="float", low=0.0, high=1.0) for number in range(20))
    params = {dimension.name: 0.5 for dimension in space}
    importance = {f"p{number}": Importance(share=number / 200, num_trials=12, num_compared=12) for number in range(20)}
    result = two_trials(space, params, params, importance=importance)
    layout = parallel_layout(result)
    assert layout is not None
    assert [axis.name for axis in layout.axes[:-1]] == [f"p{number}" for number in range(20 - MAX_AXES, 20)]


def test_one_trial_is_no_plot() -> None:
    width = Dimension(name="width", kind="float", low=1.0, high=2.0)
    assert parallel_layout(two_trials((width,), {"width": 1.0})) is None


@given(search_results())
@settings(deadline=None, max_examples=60)
def test_every_line_has_a_place_on_every_axis(result: SearchResult) -> None:
    layout = parallel_layout(result)
    if layout is None:
        return
    for line in layout.lines:
        assert len(line.positions) == len(layout.axes)
        assert all(ABSENT - SPREAD <= place <= 1 + SPREAD for place in line.positions)
    assert all(0 <= height <= 1 for axis in layout.axes for height, _ in axis.ticks)
