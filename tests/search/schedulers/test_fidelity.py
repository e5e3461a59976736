"""What rungs mean and cost: epochs of one training, or fractions of the data; with and without folds."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from made_recipes import blobs_recipe

from probe.search.schedulers.fidelity import (
    FidelitySchedule,
    Unit,
    in_epochs,
    make_fidelity_schedule,
    rung_name,
    rung_names,
)
from probe.search.schedulers.hyperband import Hyperband
from probe.search.schedulers.protocol import Outlook

rungs = st.lists(st.integers(1, 1000), min_size=1, max_size=5, unique=True).map(lambda found: tuple(sorted(found)))


@given(st.sampled_from(["epochs", "data"]), rungs, st.integers(1, 30), st.integers(1, 5))
def test_jobs_add_up_to_the_cost_of_a_trial(
    unit: Unit, rungs: tuple[int, ...], data_epochs: int, num_folds: int
) -> None:
    schedule = FidelitySchedule(unit=unit, rungs=rungs, data_epochs=data_epochs, num_folds=num_folds)
    assert math.isclose(sum(schedule.costs), schedule.total_costs[-1])
    assert schedule.epochs_before(0) == 0
    assert schedule.full_epochs == schedule.epochs_after(len(rungs) - 1)
    for rung in range(len(rungs)):
        num_epochs = schedule.epochs_after(rung) - schedule.epochs_before(rung)
        assert schedule.job_cost(rung) == num_epochs * schedule.epoch_cost(rung)
    if unit == "epochs":  # a rung continues from the one below: in the end, every epoch was trained once
        assert schedule.total_costs == tuple(num_folds * rung for rung in rungs)
    else:  # each rung is a training of its own, on its fraction of the data
        assert schedule.costs == tuple(in_epochs(num_folds * data_epochs * rung) for rung in rungs)


@given(st.integers(0, 10**6))
def test_whole_numbers_of_epochs_are_integers(thousandths: int) -> None:
    epochs = in_epochs(thousandths)
    assert epochs * 1000 == thousandths or math.isclose(epochs * 1000, thousandths)
    assert isinstance(epochs, int) == (thousandths % 1000 == 0)


def test_rungs_are_named_by_their_unit() -> None:
    assert [rung_name("epochs", 9), rung_name("data", 125), rung_name("data", 1000)] == ["9", "12.5 %", "100 %"]
    assert rung_names("epochs", (1, 3, 9)) == "after epoch 1, 3, 9"
    assert rung_names("data", (100, 1000)) == "on 10 %, 100 % of the training data"


def test_the_schedule_of_a_recipe_counts_its_folds() -> None:
    task = {
        "target": "searched_task:blobs", "objective": {"metric": "accuracy", "mode": "max"},
        "validation": {"kind": "kfold", "k": 4},
    }  # fmt: skip
    assert make_fidelity_schedule(blobs_recipe(task=task), (1, 3)).costs == (4, 8)
    assert make_fidelity_schedule(blobs_recipe(), (1, 3)).costs == (1, 2)


def test_without_a_limit_every_bracket_of_hyperband_may_get_any_number_of_trials() -> None:
    scheduler = Hyperband((1, 3, 9), factor=3, mode="max")
    scheduler.enter(0)
    scheduler.record(0, 0, 0.5)
    outlook = Outlook(
        first_new=1, new_trials=math.inf, epochs=math.inf, open_epochs=0.0, prices=(1.0, 2.0, 6.0), on_the_way={}
    )
    assert math.isinf(scheduler.num_new(0, outlook))
    assert scheduler.out_of_reach(outlook) == []
