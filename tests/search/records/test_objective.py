from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.errors import RecipeError
from probe.search.records.objective import Objective, best_epoch, check_metric, reduced_value
from probe.training.records import EpochReport


def reports(values: list[float]) -> list[EpochReport]:
    return [
        EpochReport(epoch=epoch, train_loss=1.0, val_loss=-value, metrics={"accuracy": value}, seconds=0.1)
        for epoch, value in enumerate(values, start=1)
    ]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20))
def test_best_is_the_earliest_of_the_best_epochs(values: list[float]) -> None:
    best = Objective(metric="accuracy", mode="max", reduce="best")
    assert reduced_value(best, reports(values)) == max(values)
    assert best_epoch(best, reports(values)) == values.index(max(values)) + 1
    loss = Objective(metric="loss", mode="min", reduce="best")
    assert best_epoch(loss, reports(values)) == values.index(max(values)) + 1
    last = Objective(metric="accuracy", mode="max", reduce="last")
    assert (reduced_value(last, reports(values)), best_epoch(last, reports(values))) == (values[-1], len(values))


def test_nothing_reported_is_no_value() -> None:
    assert reduced_value(Objective(metric="accuracy", mode="max"), []) is None


def test_an_unknown_metric_names_those_of_the_task() -> None:
    check_metric(Objective(metric="loss", mode="min"), ())
    with pytest.raises(RecipeError, match=r"Unknown metric 'acuracy'.*\n.*accuracy.*loss, accuracy"):
        check_metric(Objective(metric="acuracy", mode="max"), ("accuracy",))
