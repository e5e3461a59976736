from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.errors import RecipeError
from probe.search.final import interval_of, wilson_interval
from probe.search.objective import Objective, best_epoch, check_metric, reduced_value
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


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share_and_stays_in_range(counts: tuple[int, int]) -> None:
    right, num_samples = counts
    low, high = wilson_interval(right / num_samples, num_samples)
    assert 0 <= low <= right / num_samples + 1e-12
    assert right / num_samples - 1e-12 <= high <= 1


def test_the_interval_is_wilsons() -> None:
    # Agresti & Coull 1998: 10 of 10 right, 95 %: 0.722 to 1.
    low, high = wilson_interval(1.0, 10)
    assert (round(low, 3), high) == (0.722, 1.0)
    assert interval_of("loss", 0.5, 100) == (None, None)
    assert interval_of("accuracy", 0.5, 100)[0] == pytest.approx(0.404, abs=1e-3)
