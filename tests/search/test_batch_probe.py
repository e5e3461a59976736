"""The batch probe of a search within its share of the budget."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_recipes import blobs_recipe

from probe.batch.decide import most_samples
from probe.device.select import DeviceSpec
from probe.errors import Infeasible
from probe.recipe.space import ProbedBatch
from probe.search.batch_probe import BatchProbePlan, buildable
from probe.search.find import find_hyperparameters
from probe.search.plans import batch_probe_plan
from probe.search.settings import make_settings
from probe.search.study.budget import MIN_PROBE_STEPS
from probe.search.task_info import TaskInfo, first_feasible
from probe.tasks.source import TargetSource

pytestmark = pytest.mark.usefixtures("warm_workers")

SOURCE = TargetSource(target="searched_task:blobs")


def plan(num_train: int = 1000, batch_size: int = 64, *, lr: Any = 0.1, **budget: Any) -> BatchProbePlan:
    entry = {"probe": "max_batch", "max": 256}
    recipe = blobs_recipe({"batch_size": entry, "lr": lr}, budget=budget)
    setup = make_settings(recipe, SOURCE, device=DeviceSpec(kind="cpu"), num_workers=1)
    facts = TaskInfo(num_train=num_train, num_val=10, num_test=None, metrics=(), optimizer="sgd", batch_size=batch_size)
    return batch_probe_plan(setup, ProbedBatch(probe="max_batch", max=256), facts)


@settings(deadline=None, max_examples=100)
@given(st.integers(10, 5000), st.integers(1, 256), st.floats(0.5, 200), st.booleans())
def test_one_attempt_at_the_largest_size_is_within_a_tenth_and_leaves_a_trial(
    num_train: int, batch_size: int, epochs: float, with_lr: bool
) -> None:
    found = plan(num_train, batch_size, lr={"probe": "range_test"} if with_lr else 0.1, epochs=epochs)
    assert found.max_samples is not None
    assert found.max_samples <= num_train * max(0.0, min(epochs / 10, epochs - 1)) + 1e-6
    assert found.usual <= min(32, batch_size, num_train)
    if found.largest is not None:
        assert 2 * found.largest > found.usual
        assert most_samples(found.largest) <= found.max_samples


def test_the_range_test_after_it_is_left_its_shortest_form_where_both_can_be_paid() -> None:
    alone, before_lr = plan(epochs=50), plan(lr={"probe": "range_test"}, epochs=50)
    assert (alone.max_samples, before_lr.max_samples) == (5000, 5000 - 64 * MIN_PROBE_STEPS)
    assert plan(lr={"probe": "range_test"}, epochs=20).max_samples == 2000  # a range test cannot be paid at all
    assert plan(trials=3).max_samples is None


def test_the_first_configuration_that_is_not_refused_answers() -> None:
    def attempt(params: Any) -> int:
        if params["width"] < 3:
            raise Infeasible("too narrow")
        return int(params["width"])

    assert first_feasible([{"width": 1}, {"width": 4}, {"width": 5}], attempt) == 4
    with pytest.raises(Infeasible, match=r"2 configurations(.|\n)*too narrow"):
        first_feasible([{"width": 1}, {"width": 2}], attempt)
    candidates = [{"width": width, "fault": "refused middle"} for width in (30, 8, 25, 50, 60)]
    assert [params["width"] for params in buildable(SOURCE, candidates, most=2)] == [8, 50]


def test_a_small_budget_pays_for_a_probe_and_trials_even_where_the_middle_is_infeasible() -> None:
    space = {
        "width": {"low": 4, "high": 60},
        "fault": "refused middle",
        "lr": {"probe": "range_test"},
        "batch_size": {"probe": "max_batch", "max": 64},
    }
    result = find_hyperparameters(blobs_recipe(space, budget={"epochs": 6}), device="simulated:1GiB", num_workers=1)
    assert result.batch_probe is not None
    assert result.batch_probe.largest_fit == 16
    assert 0 < result.spent.probe_epochs <= 0.6
    assert result.spent.epochs <= 6
    assert result.best is not None
    assert any("Batch sizes above 16 were not tried" in warning for warning in result.warnings)
    refused = [trial for trial in result.trials if trial.status == "infeasible"]
    assert all(trial.epochs == 0.1 and "not with a width of" in (trial.message or "") for trial in refused)
