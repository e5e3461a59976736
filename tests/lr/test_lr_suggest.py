"""Suggestions from made curves: the rule, and every reason to give none."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.lr.records import CurveEnd, LrCurve
from probe.lr.suggest import MIN_STEPS, RunningLoss, points_of, ramp, smooth, suggest

LRS = ramp(1e-5, 10.0, 300)


def curve_of(losses: list[float], ended_by: CurveEnd = "finished") -> LrCurve:
    return LrCurve(seed=0, points=points_of(LRS[: len(losses)], losses, 300), ended_by=ended_by)


def falling(centre: float, width: float = 0.4, noise: float = 0.0, seed: int = 0) -> list[float]:
    """A loss that falls from 2.3 to 0.3 around lr = `centre`, `width` decades to either side, and blows up a decade on."""
    rng = np.random.default_rng(seed)
    losses = []
    for lr in LRS:
        distance = math.log10(lr / centre)
        loss = 0.3 + 2 / (1 + math.exp(4 * distance / width))
        losses.append(loss + max(0.0, distance - 1) * 20 + noise * float(rng.standard_normal()))
    return losses


@given(st.floats(1e-4, 0.3), st.floats(0.2, 0.8), st.floats(0, 0.1), st.integers(0, 50))
@settings(deadline=None, max_examples=80)
def test_the_suggestion_follows_the_fall(centre: float, width: float, noise: float, seed: int) -> None:
    found, warnings = suggest(curve_of(falling(centre, width, noise, seed)), num_steps=300)
    assert found is not None
    assert warnings == []
    assert LRS[0] <= found.low <= found.lr <= found.high <= LRS[-1]
    # 90 % of this fall is made ln(9) / 4 widths above its centre; smoothing moves that by about its own width
    assert abs(math.log10(found.lr / centre) - width * math.log(9) / 4) < 0.3


@given(st.floats(0.01, 100), st.floats(0, 5))
@settings(deadline=None, max_examples=50)
def test_units_of_the_loss_do_not_matter(scale: float, shift: float) -> None:
    plain, _ = suggest(curve_of(falling(0.01)), num_steps=300)
    changed, _ = suggest(curve_of([scale * loss + shift for loss in falling(0.01)]), num_steps=300)
    assert plain is not None
    assert changed is not None
    assert changed.lr == pytest.approx(plain.lr, rel=0.2)


def test_flat_curves_give_none() -> None:
    rng = np.random.default_rng(0)
    for seed in range(20):
        noisy = [1.0 + 0.2 * float(value) for value in np.random.default_rng(seed).standard_normal(300)]
        assert suggest(curve_of(noisy), num_steps=300)[0] is None, seed
    found, warnings = suggest(curve_of([1.0] * 300), num_steps=300)
    assert found is None
    assert "lowest learning rate" in warnings[0]
    rising = [1.0 + 0.01 * step + 0.01 * float(rng.standard_normal()) for step in range(300)]
    assert suggest(curve_of(rising), num_steps=300)[0] is None


def test_still_falling_is_said() -> None:
    found, warnings = suggest(curve_of(falling(5.0)), num_steps=300)
    assert found is not None
    assert "still falls" in warnings[0]


@pytest.mark.parametrize(
    ("ended_by", "num_points", "message"),
    [
        ("non_finite", 0, "very first step"),
        ("diverged", 9, "blew up after 9 steps"),
        ("interrupted", 12, "interrupted"),
    ],
)
def test_short_curves_give_none(ended_by: CurveEnd, num_points: int, message: str) -> None:
    found, warnings = suggest(curve_of([1.0] * num_points, ended_by), num_steps=300)
    assert found is None
    assert message in warnings[0]


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60), st.floats(2, 9))
@settings(deadline=None, max_examples=60)
def test_smoothing_is_a_mean(losses: list[float], deviation: float) -> None:
    smoothed = smooth(losses, deviation)
    assert len(smoothed) == len(losses)
    assert min(losses) - 1e-9 <= min(smoothed) <= max(smoothed) <= max(losses) + 1e-9
    assert smooth([losses[0]] * len(losses), deviation) == pytest.approx([losses[0]] * len(losses))


@given(st.floats(1e-8, 1e-2), st.floats(1.5, 1e6), st.integers(MIN_STEPS, 500))
def test_ramps_climb_from_end_to_end(lowest: float, ratio: float, num_steps: int) -> None:
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
