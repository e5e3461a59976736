"""Suggestions from made curves: the rule, and every reason to give none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_curves import LRS, NUM_STEPS, curve_of, falling

from probe.lr.curve import mean_curve
from probe.lr.records import CurveEnd
from probe.lr.suggest import FREE_PASSES, _longest_fall, finder_picks, passes_factor, suggest


@given(st.floats(1e-4, 0.3), st.floats(0.2, 0.8), st.floats(0, 0.1), st.integers(0, 50))
@settings(deadline=None, max_examples=80)
def test_the_suggestion_follows_the_fall(centre: float, width: float, noise: float, seed: int) -> None:
    found, warnings = suggest([curve_of(falling(centre, width, noise, seed))], num_steps=NUM_STEPS)
    assert found is not None
    assert warnings == []
    assert LRS[0] <= found.low <= found.lr <= found.high <= LRS[-1]
    # 90 % of this fall is made ln(9) / 4 widths above its centre; smoothing moves that by about its own width
    assert abs(math.log10(found.lr / centre) - width * math.log(9) / 4) < 0.3


@given(st.floats(0.01, 100), st.floats(0, 5))
@settings(deadline=None, max_examples=50)
def test_units_of_the_loss_do_not_matter(scale: float, shift: float) -> None:
    plain, _ = suggest([curve_of(falling(0.01))], num_steps=NUM_STEPS)
    changed, _ = suggest([curve_of([scale * loss + shift for loss in falling(0.01)])], num_steps=NUM_STEPS)
    assert plain is not None
    assert changed is not None
    assert changed.lr == pytest.approx(plain.lr, rel=0.2)


@given(st.floats(0, 500))
def test_more_passes_than_free_ones_lower_it_in_proportion(passes: float) -> None:
    curve = curve_of(falling(0.01))
    free, _ = suggest([curve], num_steps=NUM_STEPS)
    found, _ = suggest([curve], num_steps=NUM_STEPS, passes=passes)
    assert free is not None
    assert found is not None
    assert found.lr == pytest.approx(free.lr * min(1.0, FREE_PASSES / max(passes, 1e-9)))
    assert 0 < passes_factor(passes) <= 1


def test_nothing_below_the_tested_range_is_suggested() -> None:
    found, warnings = suggest([curve_of(falling(2e-4))], num_steps=NUM_STEPS, passes=1e6, lowest_lr=LRS[0])
    assert found is not None
    assert (found.low, found.lr, found.high) == (LRS[0], LRS[0], LRS[0])
    assert "upper bound" in warnings[0]


def test_a_ramp_that_starts_too_high_gives_none() -> None:
    # The drop is made within the first steps; what follows is worse.
    losses = [2.0 if step < 4 else 0.5 + 0.002 * step for step in range(NUM_STEPS)]
    found, warnings = suggest([curve_of(losses)], num_steps=NUM_STEPS)
    assert found is None
    assert "--from" in warnings[0]


def test_several_curves_are_averaged() -> None:
    low, high = curve_of(falling(0.003)), curve_of(falling(0.03))
    alone = [suggest([curve], num_steps=NUM_STEPS)[0] for curve in (low, high)]
    both, _ = suggest([low, high], num_steps=NUM_STEPS)
    assert both is not None
    assert alone[0] is not None
    assert alone[1] is not None
    assert alone[0].lr < both.lr <= alone[1].lr * 1.01


def test_flat_curves_give_none() -> None:
    rng = np.random.default_rng(0)
    for seed in range(20):
        noisy = [1.0 + 0.2 * float(value) for value in np.random.default_rng(seed).standard_normal(NUM_STEPS)]
        assert suggest([curve_of(noisy)], num_steps=NUM_STEPS)[0] is None, seed
    found, warnings = suggest([curve_of([1.0] * NUM_STEPS)], num_steps=NUM_STEPS)
    assert found is None
    assert "lowest learning rate" in warnings[0]
    rising = [1.0 + 0.01 * step + 0.01 * float(rng.standard_normal()) for step in range(NUM_STEPS)]
    assert suggest([curve_of(rising)], num_steps=NUM_STEPS)[0] is None


def test_still_falling_is_said() -> None:
    found, warnings = suggest([curve_of(falling(5.0))], num_steps=NUM_STEPS)
    assert found is not None
    assert "--to" in warnings[0]


@pytest.mark.parametrize(
    ("ended_by", "num_points", "message"),
    [
        ("non_finite", 0, "first step"),
        ("diverged", 9, "9 steps"),
        ("interrupted", 12, "12 steps"),
    ],
)
def test_short_curves_give_none(ended_by: CurveEnd, num_points: int, message: str) -> None:
    found, warnings = suggest([curve_of([1.0] * num_points, ended_by)], num_steps=NUM_STEPS)
    assert found is None
    assert message in warnings[0]


@given(st.floats(1e-3, 0.3))
@settings(deadline=None, max_examples=30)
def test_steepest_is_the_middle_of_the_fall(centre: float) -> None:
    picks = finder_picks(mean_curve([curve_of(falling(centre, width=0.8))], NUM_STEPS))
    assert picks.steepest == pytest.approx(centre, rel=0.3)


def test_a_tenth_of_the_minimum() -> None:
    curve = mean_curve([curve_of(falling(0.01))], NUM_STEPS)
    assert finder_picks(curve).minimum_tenth == pytest.approx(float(curve.lrs[curve.lowest]) / 10)


def test_the_valley_is_halfway_along_the_fall() -> None:
    # Flat for 100 steps, down for 100, up for 100.
    losses = [2.0] * 100 + [2.0 - 0.01 * step for step in range(100)] + [1.0 + 0.05 * step for step in range(100)]
    valley = finder_picks(mean_curve([curve_of(losses)], NUM_STEPS)).valley
    assert valley is not None
    assert abs(math.log(valley / LRS[150])) < math.log(LRS[20] / LRS[0])


def test_a_curve_that_only_rises_has_no_picks() -> None:
    picks = finder_picks(mean_curve([curve_of([1.0 + 0.01 * step for step in range(NUM_STEPS)])], NUM_STEPS))
    assert (picks.steepest, picks.minimum_tenth, picks.valley) == (None, None, None)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_the_longest_fall_is_the_longest(losses: list[int]) -> None:
    """Against the quadratic definition of fastai."""
    lengths = [1] * len(losses)
    for end in range(len(losses)):
        for start in range(end):
            if losses[end] < losses[start]:
                lengths[end] = max(lengths[end], lengths[start] + 1)
    longest = max(lengths)
    assert _longest_fall([float(loss) for loss in losses]) == (lengths.index(longest), longest)


def test_a_suggestion_from_an_interrupted_range_test_says_so() -> None:
    whole = suggest([curve_of(falling(0.01))], num_steps=NUM_STEPS)
    part = suggest([curve_of(falling(0.01)[:200], "interrupted")], num_steps=NUM_STEPS)
    assert part[0] is not None
    assert whole[0] is not None
    assert part[0].lr == pytest.approx(whole[0].lr, rel=0.05)  # the drop was over by then
    assert any("interrupted" in warning for warning in part[1])
