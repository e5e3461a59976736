"""search.refine: its own keys, and what the rest of a recipe must be for it."""

from __future__ import annotations

from typing import Any

import pytest

from probe.errors import RecipeError
from probe.recipe.load import parse_recipe
from probe.recipe.refine import REFINABLE, UNROLLED_OPTIMIZERS
from probe.recipe.schema import Recipe

REFINE = {"method": "hypergradient", "after": 4, "hyperparameters": ["lr", "l2"]}


def refined(**changes: Any) -> Recipe:
    """`space`, `search`, ... replace single keys of those tables; None leaves one out."""
    content: dict[str, Any] = {
        "schema": 1,
        "name": "refined",
        "task": {"target": "a:b", "objective": {"metric": "loss", "mode": "min"}},
        "space": {
            "optimizer": "sgd",
            "lr": {"low": 0.001, "high": 1.0, "log": True},
            "l2": {"low": 1e-6, "high": 1e-2, "log": True},
            "width": {"low": 8, "high": 32},
        },
        "search": {"sampler": "random", "scheduler": "none", "fidelity": {"max": 4}, "refine": dict(REFINE)},
        "budget": {"epochs": 100},
    }
    for table, values in changes.items():
        content[table] = {k: v for k, v in {**content[table], **values}.items() if v is not None}
    return parse_recipe(content, where="made")


def test_a_whole_table() -> None:
    recipe = refined(search={"refine": REFINE | {"step": 0.25, "unroll": 30}})
    assert recipe.search.refine is not None
    assert (recipe.search.refine.step, recipe.search.refine.unroll) == (0.25, 30)
    assert recipe.search.refine.hyperparameters == ("lr", "l2")
    assert parse_recipe(recipe.to_plain(), where="again") == recipe


def test_without_it_nothing_is_asked() -> None:
    assert refined(search={"refine": None}, space={"optimizer": "adam"}).search.refine is None
    assert "refine" not in refined(search={"refine": None}).to_plain()["search"]


def test_a_probed_learning_rate_is_a_range() -> None:
    assert refined(space={"lr": {"probe": "range_test"}}).search.refine is not None


def test_names_are_those_of_the_derivative() -> None:
    from probe.search.hypergradient import unrolled as hypergradient

    assert hypergradient.DIFFERENTIABLE == REFINABLE
    assert hypergradient.OPTIMIZERS == UNROLLED_OPTIMIZERS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": {"refine": {"method": "hypergradient", "after": 4}}}, "search.refine.hyperparameters is missing"),
        ({"search": {"refine": REFINE | {"stepp": 1}}}, "there is no such key in search.refine; did you mean step?"),
        ({"search": {"refine": REFINE | {"method": "newton"}}}, 'refine.method: must be hypergradient, not "newton"'),
        ({"search": {"refine": REFINE | {"after": 0}}}, "search.refine.after: must be at least 1, not 0"),
        ({"search": {"refine": REFINE | {"step": 0}}}, "search.refine.step: must be a fraction of the ranges above 0"),
        ({"search": {"refine": REFINE | {"step": 1.5}}}, "at most 1, not 1.5"),
        ({"search": {"refine": REFINE | {"unroll": 0}}}, "search.refine.unroll: must be at least 1"),
        ({"search": {"refine": REFINE | {"hyperparameters": []}}}, "must name at least one hyperparameter"),
        ({"search": {"refine": REFINE | {"hyperparameters": ["lr", "lr"]}}}, 'holds "lr" twice'),
        (
            {"search": {"refine": REFINE | {"hyperparameters": ["weight_decy"]}}},
            'not "weight_decy"; did you mean weight_decay?',
        ),
        ({"search": {"refine": REFINE | {"hyperparameters": ["momentum"]}}}, "momentum must be a range of numbers"),
        ({"space": {"lr": {"choices": [0.1, 1.0]}}}, "search.refine.hyperparameters: lr must be a range of numbers"),
        ({"space": {"l2": 0.001}}, "l2 must be a range of numbers"),
        (
            {"space": {"optimizer": "adam"}},
            'space.optimizer: must be among sgd, nesterov with search.refine, not "adam"',
        ),
        ({"space": {"optimizer": {"choices": ["sgd", "adam"]}}}, 'space.optimizer: .*not "adam"'),
        ({"space": {"optimizer": None}}, "space.optimizer: .*sgd.*missing"),
        ({"space": {"precision": "bf16"}}, "space.precision: .*search.refine"),
        (
            {"task": {"objective": {"metric": "accuracy", "mode": "max"}}},
            'task.objective: must be { metric = "loss", mode = "min" }.*not max accuracy',
        ),
        (
            {"search": {"scheduler": "asha"}},
            'search.scheduler: must be "none" or "auto" with search.refine, not "asha"',
        ),
        ({"search": {"fidelity": {"unit": "data"}}}, "search.fidelity: must have one length in epochs"),
        ({"space": {"epochs": {"choices": [2, 4]}}}, "search.fidelity: must have one length in epochs"),
        ({"task": {"validation": {"kind": "kfold"}}}, 'task.validation: must be of kind "holdout"'),
        (
            {"budget": {"trials": 4}},
            "search.refine.after: must be below budget.trials = 4, not 4",
        ),
    ],
)
def test_what_does_not_go_together_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        refined(**changes)
