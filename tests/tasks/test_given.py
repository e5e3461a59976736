"""Tasks that are handed over in Python: what they are called, what they take, and that they travel."""

from __future__ import annotations

import threading
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from torch import nn

import probe
from probe.errors import RecipeError, TaskError
from probe.recipe.load import parse_recipe
from probe.search.checks import check_names
from probe.tasks.given import FunctionSource, GivenSource, given_source, pickled_source, target_of
from probe.tasks.source import TargetSource, as_source, recipe_with_task

X, Y = torch.ones(8, 2), torch.zeros(8, dtype=torch.int64)
RECIPE: dict[str, Any] = {
    "schema": 1,
    "name": "given",
    "task": {
        "model": "mlp",
        "data": "digits",
        "num_train": 100,
        "validation": {"fraction": 0.3},
        "objective": {"metric": "loss", "mode": "min"},
    },
    "space": {"lr": 0.1, "width": {"choices": [2, 4]}},
    "budget": {"trials": 2},
}


def make(width: int = 4, **data: Any) -> probe.Task:
    return probe.Task(model=lambda: nn.Linear(2, 2 * width), train=(X, Y), name="my: own", **data)


def only_width(width: int = 4) -> probe.Task:
    return make(width)


def test_a_function_is_a_source_whose_keywords_are_hyperparameters() -> None:
    source = as_source(only_width)
    assert isinstance(source, FunctionSource)
    assert source.keywords() == ("width",)
    assert as_source(make).keywords() is None  # it takes any
    assert source.build({"width": 3}).model().out_features == 6
    with pytest.raises(TaskError, match="wdth"):
        source.build({"wdth": 3})
    with pytest.raises(TaskError, match=r"must return a probe\.Task"):
        as_source(lambda: 3).build({})  # type: ignore[arg-type, return-value]  # that is the mistake
    assert as_source(TargetSource(target="a:b")) == TargetSource(target="a:b")


@pytest.mark.parametrize("given", [3, None, "mytask:task"])
def test_what_is_no_task_is_refused_by_its_type(given: Any) -> None:
    with pytest.raises(TaskError, match=type(given).__name__):
        given_source(given)


def test_it_is_pickled_once_and_read_once() -> None:
    source = pickled_source(given_source(only_width))
    again = cloudpickle.loads(cloudpickle.dumps(source))
    assert (again.title, again.keywords()) == (source.title, ("width",))
    tasks = [again.build({"width": width}) for width in (1, 2)]
    assert [task.model().out_features for task in tasks] == [2, 4]
    whole = pickled_source(given_source(make()))
    assert whole.keywords() == ()
    assert whole.build({}) is cloudpickle.loads(cloudpickle.dumps(whole)).build({})


def test_what_cannot_travel_is_named() -> None:
    lock = threading.Lock()
    with pytest.raises(TaskError, match=r"my: own cannot be sent to a worker process: .*lock"):
        pickled_source(GivenSource(task=make(collate=lambda samples: lock)))


def test_the_record_names_it_as_a_target() -> None:
    assert target_of(only_width) == f"{__name__}:only_width"
    assert target_of(make()) == "__main__:my-own"
    assert target_of(lambda: make()).endswith(":test_the_record_names_it_as_a_target.<locals>.<lambda>")


def test_it_takes_the_place_of_what_the_recipe_trains() -> None:
    recipe = recipe_with_task(parse_recipe(RECIPE, where="made"), only_width)
    assert (recipe.task.target, recipe.task.model, recipe.task.num_train) == (f"{__name__}:only_width", None, None)
    assert recipe.task.validation.fraction == 0.3
    check_names(recipe, given_source(only_width))
    with pytest.raises(RecipeError, match="width"):
        check_names(recipe, given_source(make()))  # a Task has no hyperparameters of its own


def test_a_recipe_on_disk_then_needs_no_target(tmp_path: Any) -> None:
    path = tmp_path / "bare.toml"
    path.write_text(
        'schema = 1\nname = "bare"\n[task]\nobjective = { metric = "loss", mode = "min" }\n[space]\nlr = 0.1\n'
        "[budget]\ntrials = 1\n"
    )
    with pytest.raises(RecipeError, match="target"):
        recipe_with_task(path, None)
    assert recipe_with_task(path, make, overrides=["budget.trials=3"]).budget.trials == 3


def test_arrays_of_numpy_travel_with_a_task() -> None:
    data = np.ones((8, 2), dtype=np.float32), np.zeros(8, dtype=np.int64)
    source = pickled_source(given_source(probe.Task(model=lambda: nn.Linear(2, 2), train=data)))
    train = cloudpickle.loads(cloudpickle.dumps(source)).build({}).train
    assert [tuple(part.shape) for part in train] == [(8, 2), (8,)]
