from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_recipes import blobs_recipe
from searches import search_outcome

from probe.recipe.schema import Recipe
from probe.search.records.search import DATABASE_FILE
from probe.search.schedulers import registry
from probe.search.schedulers.registry import FACTOR, budget_trainings, choose_scheduler, make_scheduler
from probe.search.stored_result import stored_incumbents, stored_result

pytestmark = pytest.mark.usefixtures("warm_workers")

LADDERS = ("auto", "none", "halving", "asha", "hyperband")


@st.composite
def fidelities(draw: st.DrawFn) -> dict[str, Any]:
    """Each optional key is given or left out; fractions of the data are thousandths, like rungs."""
    by_data = draw(st.booleans())
    highest = draw(st.integers(1, 1000) if by_data else st.integers(1, 5000))
    lowest = draw(st.none() | st.integers(1, highest))
    scale = 1000 if by_data else 1
    given = {
        "unit": "data" if by_data else "epochs",
        "max": highest / scale if by_data else highest,
        "min": None if lowest is None else (lowest / scale if by_data else lowest),
        "factor": draw(st.none() | st.integers(2, 9)),
    }
    return {key: value for key, value in given.items() if value is not None}


def budgets() -> st.SearchStrategy[dict[str, Any]]:
    limits = st.fixed_dictionaries(
        {}, optional={"trials": st.integers(1, 500), "epochs": st.floats(0.5, 1e5), "time": st.just("1m")}
    )
    return limits.filter(bool)


@given(fidelity=fidelities(), scheduler=st.sampled_from(LADDERS), budget=budgets())
def test_rungs_are_valid_and_what_the_recipe_gives_is_kept(
    fidelity: dict[str, Any], scheduler: str, budget: dict[str, Any]
) -> None:
    recipe = blobs_recipe(search={"scheduler": scheduler, "fidelity": fidelity}, budget=budget)
    choice, given = choose_scheduler(recipe), recipe.search.fidelity
    make_scheduler(choice.name, choice.rungs, factor=choice.factor, mode="max")  # refuses rungs that are none
    assert choice.rungs[-1] == given.highest
    assert choice.factor == fidelity.get("factor", FACTOR)
    if scheduler != "auto":
        assert (choice.name, choice.reason) == (scheduler, None)
    else:
        assert choice.reason is not None
        assert choice.reason.startswith(f"{choice.name}, since ")
        assert (choice.name == "none") == (len(choice.rungs) == 1)
    if choice.name == "none":
        assert len(choice.rungs) == 1
    elif "min" in fidelity:
        assert choice.rungs[0] == given.lowest
    else:
        share = 10 if fidelity["unit"] == "data" else 9
        assert choice.rungs[0] == 1 or abs(choice.rungs[0] - given.highest / share) <= 0.5


@pytest.mark.parametrize(
    ("fidelity", "rungs"),
    [
        ({"max": 2}, (1, 2)),
        ({"max": 3}, (1, 3)),
        ({"max": 9}, (1, 3, 9)),
        ({"max": 20}, (2, 6, 20)),
        ({}, (3, 9, 27)),
        ({"max": 52}, (6, 18, 52)),
        ({"max": 52, "min": 1}, (1, 3, 9, 27, 52)),
        ({"max": 52, "factor": 2}, (6, 12, 24, 52)),
        ({"unit": "data"}, (100, 300, 1000)),
        ({"unit": "data", "max": 0.05}, (5, 15, 50)),
    ],
)
def test_where_trials_are_ranked(fidelity: dict[str, Any], rungs: tuple[int, ...]) -> None:
    for scheduler in ("auto", "asha", "halving", "hyperband"):
        choice = choose_scheduler(blobs_recipe(search={"scheduler": scheduler, "fidelity": fidelity}))
        assert choice.rungs == rungs
        assert choice.name == ("asha" if scheduler == "auto" else scheduler)


@pytest.mark.parametrize(
    ("space", "search", "words", "longest"),
    [
        ({"epochs": {"choices": [5, 20]}}, {}, "space.epochs", 20),
        ({"epochs": {"choices": [5, 20]}}, {"fidelity": {"min": 25}}, "space.epochs", 20),
        ({}, {"fidelity": {"max": 1}}, "search.fidelity", 1),
        ({}, {"fidelity": {"min": 8, "max": 8}}, "search.fidelity", 8),
        (
            {"lr": {"low": 0.01, "high": 1.0, "log": True}, "optimizer": "sgd"},
            {"refine": {"method": "hypergradient", "after": 2, "hyperparameters": ["lr"]}, "fidelity": {"max": 9}},
            "search.refine",
            9,
        ),
    ],
)
def test_whole_trainings_where_nothing_can_be_ranked_before(
    space: dict[str, Any], search: dict[str, Any], words: str, longest: int
) -> None:
    task = {"target": "searched_task:blobs", "objective": {"metric": "loss", "mode": "min"}}
    choice = choose_scheduler(blobs_recipe(space, search=search, task=task, budget={"trials": 9}))
    assert (choice.name, choice.rungs) == ("none", (longest,))
    assert choice.reason is not None
    assert choice.reason.startswith(f"none, since {words}")


def asked(budget: dict[str, Any], *, max_epochs: int = 9, **task: Any) -> Recipe:
    target = {"target": "searched_task:blobs", "objective": {"metric": "accuracy", "mode": "max"}}
    return blobs_recipe(search={"fidelity": {"max": max_epochs}}, budget=budget, task=target | task)


def test_the_trainings_that_a_budget_pays_for() -> None:
    assert budget_trainings(asked({"epochs": 60})) == 60 / 9
    assert budget_trainings(asked({"epochs": 60}, validation={"kind": "kfold", "k": 5})) == 60 / 45
    assert budget_trainings(asked({"trials": 5})) == float("inf")
    half = blobs_recipe(search={"fidelity": {"unit": "data", "max": 0.5, "epochs": 4}}, budget={"epochs": 60})
    assert budget_trainings(half) == 30
    assert "pays for 6.7 whole trainings" in (choose_scheduler(asked({"epochs": 60})).reason or "")
    assert "pays for 1 whole training," in (choose_scheduler(asked({"epochs": 9})).reason or "")
    assert "pays for" not in (choose_scheduler(asked({"epochs": 60, "trials": 6})).reason or "")


def test_a_search_keeps_its_rungs_whatever_would_be_chosen_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed search keeps its rungs, also with a larger budget."""
    recipes = [
        blobs_recipe(search={"sampler": "random", "fidelity": {"max": 9}}, budget={"epochs": epochs})
        for epochs in (12, 20)
    ]
    first, error = search_outcome(recipes[0], device="cpu", num_workers=1, folder=tmp_path)
    assert error is None
    assert (first.scheduler, first.rungs) == ("asha", (1, 3, 9))
    monkeypatch.setattr(registry, "EPOCHS_DIVISOR", 2)
    assert choose_scheduler(recipes[1]).rungs != first.rungs
    again, error = search_outcome(recipes[1], device="cpu", num_workers=1, folder=tmp_path, resume=True)
    assert error is None
    assert (again.scheduler, again.rungs, again.scheduler_reason) == (
        first.scheduler,
        first.rungs,
        first.scheduler_reason,
    )
    assert [trial.params for trial in again.trials[: len(first.trials)]] == [trial.params for trial in first.trials]
    assert again.spent.epochs > first.spent.epochs
    stored = stored_result(tmp_path)
    assert (stored.rungs, stored.scheduler_reason) == (first.rungs, first.scheduler_reason)
    curve = stored_incumbents(tmp_path / DATABASE_FILE, again)
    assert curve is not None
    assert again.best is not None
    assert curve[-1].value == again.best.value
