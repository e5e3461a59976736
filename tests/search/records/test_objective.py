from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.errors import RecipeError
from probe.search.records.objective import Objective, best_epoch, check_metric, direction_warning, reduced_value
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


@pytest.mark.parametrize("reduce", ["best", "last"])
def test_epochs_without_a_finite_value_do_not_count(reduce: Literal["best", "last"]) -> None:
    objective = Objective(metric="accuracy", mode="max", reduce=reduce)
    told = [replace(report, metrics={}) if report.epoch in (1, 3) else report for report in reports([0.9, 0.5, 0.7])]
    assert (best_epoch(objective, told), reduced_value(objective, told)) == (2, 0.5)
    unmeasured = Objective(metric="loss", mode="min", reduce=reduce)
    assert reduced_value(unmeasured, [replace(report, val_loss=None) for report in told]) is None


@pytest.mark.parametrize(
    ("metric", "mode", "doubted"),
    [
        ("accuracy", "max", False), ("Accuracy", "min", True), ("loss", "min", False), ("rmse", "max", True),
        ("reward", "min", False), ("reward", "max", False),
    ],
)  # fmt: skip
def test_only_a_well_known_metric_in_the_wrong_direction_is_doubted(
    metric: str, mode: Literal["max", "min"], doubted: bool
) -> None:
    said = direction_warning(metric, mode)
    assert (said is not None) == doubted
    assert said is None or f'did you mean mode = "{"min" if mode == "max" else "max"}"?' in said
