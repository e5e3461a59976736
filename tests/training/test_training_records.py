"""Records of a training run refuse contradictions."""

from __future__ import annotations

import pytest

from probe.training.records import Diagnosis, SplitScore, TrainingSummary, WeightCounts


@pytest.mark.parametrize("counts", [(10, 5, 4), (10, 5, 11), (10, -1, 4)])
def test_zeros_are_nearly_zero_and_weights(counts: tuple[int, int, int]) -> None:
    num_weights, num_zero, num_near_zero = counts
    with pytest.raises(ValueError, match="inconsistent"):
        WeightCounts(num_weights=num_weights, num_zero=num_zero, num_near_zero=num_near_zero)


def test_fractions_of_weights() -> None:
    counts = WeightCounts(num_weights=8, num_zero=1, num_near_zero=2)
    assert (counts.zero_fraction, counts.near_zero_fraction) == (0.125, 0.25)
    none = WeightCounts(num_weights=0, num_zero=0, num_near_zero=0)
    assert (none.zero_fraction, none.near_zero_fraction) == (0, 0)


def test_both_splits_have_the_same_metrics() -> None:
    train, val = (SplitScore(loss=1, metrics={name: 0.5}, num_samples=9) for name in ("accuracy", "f1"))
    weights = WeightCounts(num_weights=1, num_zero=0, num_near_zero=0)
    assert TrainingSummary(epoch=1, train=train, val=train, weights=weights).val == train
    with pytest.raises(ValueError, match="same metrics"):
        TrainingSummary(epoch=1, train=train, val=val, weights=weights)


def test_a_diagnosis_has_evidence_unless_there_are_too_few_epochs() -> None:
    assert Diagnosis(kind="too_few_epochs", confidence="high", remedies=("Train longer.",), evidence=None).remedies
    with pytest.raises(ValueError, match="healthy"):
        Diagnosis(kind="healthy", confidence="high", remedies=(), evidence=None)
