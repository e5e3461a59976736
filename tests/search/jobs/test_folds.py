"""Means over folds."""

from __future__ import annotations

from probe.search.jobs.folds import mean_summary
from probe.training.records import SplitScore, TrainingSummary, WeightCounts


def summary(loss: float, zeros: int) -> TrainingSummary:
    part = SplitScore(loss=loss, metrics={"accuracy": loss / 2}, num_samples=10)
    return TrainingSummary(
        epoch=3, train=part, val=part, weights=WeightCounts(num_weights=20, num_zero=zeros, num_near_zero=10)
    )


def test_folds_are_averaged() -> None:
    mean = mean_summary([summary(1.0, 2), summary(0.5, 4)])
    assert mean is not None
    assert (mean.train.loss, mean.val.metrics["accuracy"], mean.val.num_samples) == (0.75, 0.375, 20)
    assert (mean.weights.num_weights, mean.weights.zero_fraction, mean.weights.near_zero_fraction) == (40, 0.15, 0.5)
    assert mean_summary([summary(1.0, 2), None]) is None
    assert mean_summary([]) is None
