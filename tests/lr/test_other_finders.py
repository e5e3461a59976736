"""The picks of other finders, on curves where they are known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_curves import LRS, NUM_STEPS, curve_of, falling

from probe.lr.curve import mean_curve
from probe.lr.other_finders import _longest_fall, finder_picks


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
