"""Recipes of one configuration: what is refused, and what a winner's recipe holds."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.errors import RecipeError
from probe.recipe.dump import comment, dump_plain
from probe.recipe.fixed import fixed_params, fixed_plain, with_seed
from probe.recipe.load import parse_recipe
from probe.recipe.schema import Recipe


def recipe(space: dict[str, Any]) -> Recipe:
    content = {
        "schema": 1,
        "name": "made",
        "task": {"model": "mlp", "data": "digits", "objective": {"metric": "accuracy", "mode": "max"}},
        "space": space,
        "search": {"seed": 5, "sampler": "random"},
        "budget": {"epochs": 30},
        "start": [],
    }
    return parse_recipe(content, where="made")


def test_constants_are_the_configuration() -> None:
    assert fixed_params(recipe({"lr": 0.1, "optimizer": "sgd"})) == {"lr": 0.1, "optimizer": "sgd"}


def test_a_condition_on_a_constant_settles_what_depends_on_it() -> None:
    momentum = {"low": 0.5, "high": 0.9, "when": {"optimizer": "sgd"}}
    assert fixed_params(recipe({"optimizer": "adam", "momentum": momentum})) == {"optimizer": "adam"}


def test_what_is_left_to_search_is_named_with_what_to_do() -> None:
    with pytest.raises(RecipeError, match="leaves lr and width to search") as caught:
        fixed_params(recipe({"lr": {"probe": "range_test"}, "width": {"choices": [4, 8]}, "dropout": 0.1}))
    assert "--set space.lr=" in (caught.value.hint or "")


def test_a_winners_recipe_has_its_values_its_epochs_the_task_and_the_seed() -> None:
    found = recipe({"lr": {"low": 1e-4, "high": 1.0, "log": True}, "width": 8})
    text = dump_plain(fixed_plain(found.to_plain(), {"lr": 0.01, "width": 8}, epochs=21))
    fixed = parse_recipe(tomllib.loads(text), where="best.toml")
    assert fixed_params(fixed) == {"lr": 0.01, "width": 8}
    assert (fixed.task, fixed.search.seed, fixed.search.fidelity.max) == (found.task, 5, 21)
    assert fixed.search.scheduler == "none"


def test_a_winner_whose_length_was_searched_is_trained_for_its_best_number_of_epochs() -> None:
    found = recipe({"lr": {"low": 1e-4, "high": 1.0, "log": True}})
    plain = fixed_plain(found.to_plain(), {"lr": 0.01, "epochs": 5}, epochs=4)
    fixed = parse_recipe(
        tomllib.loads(dump_plain(plain, comments={"space.epochs": "searched: 2, 5"})), where="best.toml"
    )
    assert fixed_params(fixed) == {"lr": 0.01}
    assert fixed.longest_epochs == 4


def test_another_seed_changes_nothing_else() -> None:
    found = recipe({"lr": 0.1})
    changed = with_seed(found, 9)
    assert changed.search.seed == 9
    assert with_seed(changed, 5) == found


@given(st.text(), st.text())
def test_no_comment_breaks_the_file(head: str, beside: str) -> None:
    plain = {"schema": 1, "name": "x", "space": {"lr": 0.1, "width": 8}}
    text = f"{comment(head)}\n{dump_plain(plain, comments={'space.lr': beside})}"
    assert tomllib.loads(text.encode("utf-8", "backslashreplace").decode()) == plain
