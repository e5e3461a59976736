"""How well a validation score is known."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.search.analysis.intervals import fold_interval, value_interval, wilson_interval
from probe.search.records.objective import Objective
from probe.search.records.search import ValueInterval
from probe.training.metrics import proportions
from probe.training.records import EpochReport

ACCURACY = Objective(metric="accuracy", mode="max")
LOSS = Objective(metric="loss", mode="min")


def report(value: float, *, spread: float | None = None) -> EpochReport:
    spreads = None if spread is None else {"accuracy": spread, "loss": spread}
    return EpochReport(
        epoch=1, train_loss=1.0, val_loss=value, metrics={"accuracy": value}, seconds=0.1, metric_spread=spreads
    )


def interval(
    objective: Objective, value: float, *, spread: float | None = None, num_folds: int = 1
) -> ValueInterval | None:
    return value_interval(
        objective,
        value,
        [report(0.123), report(value, spread=spread)],
        proportions=("accuracy",),
        num_samples=40,
        num_folds=num_folds,
    )


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


def test_the_folds_interval_is_students() -> None:
    values = [0.90, 0.92, 0.88, 0.94, 0.91]
    low, high = fold_interval(fmean(values), stdev(values), 5)
    assert (high - low) / 2 == pytest.approx(2.776 * stdev(values) / math.sqrt(5))
    assert fold_interval(1.0, 0.0, 30) == (1.0, 1.0)


def test_a_share_of_samples_is_known_and_a_loss_only_where_there_are_folds() -> None:
    share = interval(ACCURACY, 0.85)
    assert share is not None
    assert (share.rule, round(share.low, 4), round(share.high, 4)) == ("wilson", 0.7093, 0.9294)
    assert interval(LOSS, 0.85) is None
    folds = interval(LOSS, 0.85, spread=0.1, num_folds=4)
    assert folds is not None
    assert folds.rule == "folds"
    assert folds.low == pytest.approx(0.85 - 3.182 * 0.1 / 2)
    assert interval(Objective(metric="accuracy", mode="max"), 1.5) is None  # called an accuracy, but no share


def test_shares_of_samples_are_known_by_what_they_are_not_only_by_their_name() -> None:
    metrics = {"top": "accuracy", "wrong": "error_rate", "off": "mae", "accuracy": len, "f1": len, "error_rate": "rmse"}
    assert proportions(metrics) == ("top", "wrong", "accuracy")


def test_folds_without_a_spread_of_the_value_leave_it_unknown() -> None:
    assert interval(LOSS, 0.5, num_folds=5) is None  # reports of an older search have no spreads
    stored = [report(0.5, spread=0.1)]
    assert value_interval(LOSS, 0.25, stored, proportions=(), num_samples=40, num_folds=5) is None  # of no stored epoch
