"""Ramps, smoothing, the end of a range test, the mean of several."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_curves import LRS, NUM_STEPS, curve_of, falling
from made_records import lr_result

from probe.lr.curve import CAP_FACTOR, RunningLoss, mean_curve, ramp, smooth
from probe.lr.records import LrCurve, LrSuggestion
from probe.lr.suggest import MIN_STEPS


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60), st.floats(2, 9))
@settings(deadline=None, max_examples=60)
def test_smoothing_is_a_mean(losses: list[float], deviation: float) -> None:
    smoothed = smooth(losses, deviation)
    assert len(smoothed) == len(losses)
    assert min(losses) - 1e-9 <= min(smoothed) <= max(smoothed) <= max(losses) + 1e-9
    assert smooth([losses[0]] * len(losses), deviation) == pytest.approx([losses[0]] * len(losses))


@given(st.floats(1e-8, 1e-2), st.floats(1.5, 1e6), st.integers(MIN_STEPS, 500))
def test_ramps_increase_from_end_to_end(lowest: float, ratio: float, num_steps: int) -> None:
    lrs = ramp(lowest, lowest * ratio, num_steps)
    assert (len(lrs), lrs[-1]) == (num_steps, lowest * ratio)
    assert lrs[0] == pytest.approx(lowest)
    assert all(a < b for a, b in pairwise(lrs))


def test_divergence_needs_more_than_noise() -> None:
    running = RunningLoss.start(2.0)
    for loss in (1.9, 2.2, 1.5, 0.5, 0.2):
        running = running.updated(loss)
        assert not running.diverged
    for _ in range(60):
        running = running.updated(50.0)
    assert running.diverged


@given(st.floats(0.02, 0.98), st.floats(1e-3, 0.1))
@settings(deadline=None, max_examples=50)
def test_fractions_of_the_drop_are_in_order(fraction: float, centre: float) -> None:
    curve = mean_curve([curve_of(falling(centre))], NUM_STEPS)
    lr = curve.lr_at_drop(fraction)
    assert curve.lr_at_drop(fraction / 2) <= lr <= float(curve.lrs[curve.lowest])
    level = curve.start_loss - fraction * curve.drop
    assert float(np.interp(np.log(lr), np.log(curve.lrs), curve.losses)) == pytest.approx(level, abs=1e-6)


def test_a_curve_that_diverged_early_counts_with_its_cap() -> None:
    whole, cut = curve_of([2.0] * NUM_STEPS), curve_of([2.0] * 100, "diverged")
    curve = mean_curve([whole, cut], NUM_STEPS)
    assert len(curve.losses) == NUM_STEPS
    assert curve.losses[99] == pytest.approx(2.0)
    assert curve.losses[100] == pytest.approx((2.0 + CAP_FACTOR * 2.0) / 2)


def test_averaging_shrinks_the_standard_error() -> None:
    noisy = [curve_of(falling(0.01, noise=0.1, seed=seed)) for seed in range(4)]
    alone, together = mean_curve(noisy[:1], NUM_STEPS), mean_curve(noisy, NUM_STEPS)
    assert together.standard_error == pytest.approx(alone.standard_error / 2, rel=0.3)
    assert list(alone.lrs) == LRS


@pytest.mark.parametrize("fraction", [0.1, 0.9])
def test_a_loss_that_only_rises_has_made_its_whole_drop_at_the_lowest_learning_rate(fraction: float) -> None:
    curve = mean_curve([curve_of([1.0 + 0.01 * step for step in range(NUM_STEPS)])], NUM_STEPS)
    assert curve.lowest == 0
    assert curve.lr_at_drop(fraction) == LRS[0]


def test_a_range_test_counts_the_steps_after_the_end_of_its_curve() -> None:
    assert replace(curve_of([2.0] * 100, "diverged"), num_extra_steps=5).num_steps == 105


def test_learning_rates_of_a_range_test_increase() -> None:
    points = curve_of([2.0, 1.0]).points
    with pytest.raises(ValueError, match="increase"):
        LrCurve(seed=0, points=points[::-1], ended_by="finished")


@pytest.mark.parametrize(("low", "lr", "high"), [(0.0, 0.1, 0.2), (0.2, 0.1, 0.3), (0.1, 0.3, 0.2)])
def test_a_suggestion_is_positive_and_in_its_good_range(low: float, lr: float, high: float) -> None:
    with pytest.raises(ValueError, match="low <= lr <= high"):
        LrSuggestion(low=low, lr=lr, high=high)


def test_a_result_suggests_nothing_outside_the_tested_range() -> None:
    found = LrSuggestion(low=0.1, lr=0.2, high=0.3)
    assert lr_result(suggestion=found, lowest_lr=0.1, highest_lr=0.3).suggestion == found
    with pytest.raises(ValueError, match="outside the tested range"):
        lr_result(suggestion=found, lowest_lr=0.1, highest_lr=0.25)
