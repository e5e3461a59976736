"""Conditions of hyperparameters: what they mean, and what a recipe may say."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.errors import RecipeError
from probe.limits import is_number
from probe.recipe.dump import dump_recipe
from probe.recipe.load import parse_recipe
from probe.recipe.schema import Recipe
from probe.recipe.when import Bounds, Condition, condition_words, holds, holds_in_range, plain_condition, read_condition
from probe.records_json import from_plain, to_plain
from probe.search.records.search import Dimension
from probe.search.space.dimensions import build_space

quick = settings(deadline=None, max_examples=100)
numbers = st.integers(-20, 20) | st.floats(-20, 20).filter(is_number)
values = st.booleans() | numbers | st.sampled_from(["sgd", "adam"])
bounds = st.builds(Bounds, min=numbers, max=st.none()) | st.builds(
    lambda low, width: Bounds(min=low, max=low + width), st.integers(-9, 9), st.integers(0, 9)
)
conditions: st.SearchStrategy[Condition] = (
    values
    | bounds
    | st.lists(values, min_size=1, max_size=3, unique_by=repr).map(tuple).filter(lambda v: len(set(v)) == len(v))
)


def recipe(**space: Any) -> Recipe:
    content = {
        "schema": 1,
        "name": "conditions",
        "task": {"target": "mytask:task", "objective": {"metric": "accuracy", "mode": "max"}},
        "space": space,
        "budget": {"trials": 3},
    }
    return parse_recipe(content, where="made")


@quick
@given(conditions)
def test_a_condition_is_read_back_as_it_was_written(condition: Condition) -> None:
    assert read_condition(plain_condition(condition)) == condition
    dimension = Dimension(name="x", kind="float", low=0, high=1, when={"other": condition})
    assert from_plain(Dimension, to_plain(dimension)) == dimension


@quick
@given(conditions, values)
def test_one_of_several_values_is_enough_and_bounds_hold_their_ends(condition: Condition, value: Any) -> None:
    if isinstance(condition, tuple):
        assert holds(condition, value) == any(holds(one, value) for one in condition)
    elif isinstance(condition, Bounds):
        assert condition.min is not None
        assert holds(condition, condition.min)
        assert condition.max is None or holds(condition, condition.max)
        assert not holds(condition, True)
        assert not holds(condition, "2")
    else:
        assert holds(condition, condition)


@quick
@given(
    st.lists(st.integers(0, 16).map(lambda n: n) | bounds, min_size=1, max_size=3),
    st.integers(1, 12),
    st.integers(0, 8),
    st.booleans(),
)
def test_whether_conditions_can_hold_together_is_what_trying_every_value_says(
    given_conditions: list[Condition], low: int, width: int, pow2: bool
) -> None:
    candidates = [n for n in range(low, low + width + 1) if not pow2 or n.bit_count() == 1]
    expected = any(all(holds(condition, n) for condition in given_conditions) for n in candidates)
    assert holds_in_range(given_conditions, low=low, high=low + width, whole=True, pow2=pow2) == expected


def test_conditions_of_all_kinds_reach_the_space_and_the_dumped_recipe() -> None:
    found = recipe(
        optimizer={"choices": ["sgd", "nesterov", "adam"]},
        momentum={"low": 0.5, "high": 0.9, "when": {"optimizer": ["sgd", "nesterov"]}},
        layers={"low": 1, "high": 6},
        dropout={"low": 0.0, "high": 0.5, "when": {"layers": {"min": 2, "max": 4}}},
        flag={"choices": [True, False], "when": {"layers": 3}},
        rate={"low": 0.1, "high": 1.0, "when": {"dropout": {"min": 0.25}}},
    )
    by_name = {dimension.name: dimension.when for dimension in build_space(found).dimensions}
    assert by_name["momentum"] == {"optimizer": ("sgd", "nesterov")}
    assert by_name["dropout"] == {"layers": Bounds(min=2, max=4)}
    text = dump_recipe(found)
    assert 'when = { optimizer = ["sgd", "nesterov"] }' in text or "nesterov" in text
    assert "when = { layers = { min = 2, max = 4 } }" in text
    assert parse_recipe(tomllib.loads(text), where="dumped") == found


@pytest.mark.parametrize(
    ("value", "remaining"),
    [(1, {"layers"}), (2, {"layers", "dropout"}), (3, {"layers", "dropout", "flag"})],
)
def test_conditions_on_a_fixed_value_are_settled(value: int, remaining: set[str]) -> None:
    found = recipe(
        layers=value,
        dropout={"low": 0.0, "high": 0.5, "when": {"layers": {"min": 2}}},
        flag={"choices": [1, 2], "when": {"layers": [3, 4]}},
    )
    assert set(found.space) == remaining
    assert all(getattr(entry, "when", None) is None for entry in found.space.values())


PARENTS: dict[str, Any] = {
    "optimizer": {"choices": ["sgd", "nesterov", "adam"]},
    "layers": {"low": 1, "high": 6},
    "width": {"low": 16, "high": 64, "pow2": True},
    "rate": {"low": 0.1, "high": 0.5},
    "lr": {"probe": "range_test"},
    "nested": {"low": 0, "high": 9, "when": {"optimizer": ["sgd", "adam"]}},
}


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"optimizer": ["sgd", "adm"]}, r'x\.when\.optimizer: must be one of "sgd", "nesterov", "adam", not "adm"'),
        ({"optimizer": ["sgd", "sgd"]}, r'x\.when\.optimizer: contains "sgd" twice'),
        ({"optimizer": []}, "not an empty list"),
        ({"optimizer": {"min": 1}}, r"x\.when\.optimizer: min and max apply to numbers"),
        ({"layers": {"min": 7}}, r"x\.when\.layers: .*can never hold, because layers is a whole number from 1 to 6"),
        ({"layers": {"max": 0}}, "can never hold"),
        ({"layers": {"min": 4, "max": 2}}, "min must not be above max, not 4 and 2"),
        ({"layers": {"least": 2}}, r"a table of min and max.*least"),
        ({"layers": {}}, "not an empty table"),
        ({"layers": {"min": "2"}}, r"min must be a finite number, not \"2\""),
        ({"layers": 9}, "must be a whole number from 1 to 6, not 9"),
        ({"layers": [2, 9]}, "must be a whole number from 1 to 6, not 9"),
        ({"width": 24}, "must be a power of two from 16 to 64, not 24"),
        ({"width": {"min": 33, "max": 63}}, "can never hold"),
        ({"rate": 0.2}, r"must be bounds, like \{ min = 0\.2 \}"),
        ({"lr": {"min": 0.1}}, "the result of a probe is not known in advance"),
        ({"later": {"min": 1}}, "later must be above x"),
        ({"layrs": {"min": 1}}, "no hyperparameter layrs above x; did you mean layers"),
        ({"nested": {"min": 3}, "optimizer": "nesterov"}, "can never hold: it requires"),
    ],
)
def test_a_condition_that_cannot_be_meant_is_explained(when: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(**PARENTS, x={"low": 0.0, "high": 1.0, "when": when}, later={"low": 1, "high": 2})


def test_conditions_in_words() -> None:
    said = [
        condition_words(one) for one in ("sgd", ("sgd", "adam"), Bounds(min=2), Bounds(max=4), Bounds(min=1, max=2))
    ]
    assert said == ["sgd", "sgd or adam", "at least 2", "at most 4", "from 1 to 2"]


@pytest.mark.parametrize(
    ("start", "fits"),
    [
        ({"layers": 3, "dropout": 0.1}, True),
        ({"layers": 1, "dropout": 0.1}, False),
        ({"dropout": 0.1}, False),
        ({"optimizer": "nesterov", "momentum": 0.6}, True),
        ({"optimizer": "adam", "momentum": 0.6}, False),
    ],
)
def test_a_starting_configuration_meets_its_conditions(start: dict[str, Any], fits: bool) -> None:
    content = recipe(
        optimizer={"choices": ["sgd", "nesterov", "adam"]},
        momentum={"low": 0.5, "high": 0.9, "when": {"optimizer": ["sgd", "nesterov"]}},
        layers={"low": 1, "high": 6},
        dropout={"low": 0.0, "high": 0.5, "when": {"layers": {"min": 2}}},
    ).to_plain()
    if fits:
        parse_recipe({**content, "start": [start]}, where="made")
        return
    with pytest.raises(RecipeError, match="requires"):
        parse_recipe({**content, "start": [start]}, where="made")
