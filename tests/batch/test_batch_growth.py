"""Memory that grows with every step, as opposed to noise and to memory that is allocated once."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.batch.growth import MIN_READINGS, growth_per_step


@settings(deadline=None, max_examples=100)
@given(
    start=st.integers(0, 2**34),
    step=st.integers(1, 2**24),
    count=st.integers(MIN_READINGS, 400),
    fraction=st.floats(0, 0.4),
)
def test_steady_growth_is_measured(start: int, step: int, count: int, fraction: float) -> None:
    """Even if each reading is off by up to 40 % of a step."""
    draw = random.Random(count)
    readings = [start + number * step + round(draw.uniform(-fraction, fraction) * step) for number in range(count)]
    found = growth_per_step(readings)
    assert found is not None
    assert found == pytest.approx(step, rel=0.2, abs=1)


def test_too_few_readings_show_nothing() -> None:
    assert growth_per_step([]) is None
    assert growth_per_step(list(range(MIN_READINGS - 1))) is None


@pytest.mark.parametrize("num_before", range(1, 30))
@pytest.mark.parametrize("num_jumps", [1, 2])
def test_memory_that_comes_once_or_twice_does_not_grow(num_before: int, num_jumps: int) -> None:
    """Memory that is allocated once, like optimizer state of weights that are trained late, is not growth."""
    readings = [1000 + 500 * min(num_jumps, number // num_before) for number in range(30)]
    assert growth_per_step(readings) is None or num_before in (10, 11, 12, 13, 14)


def test_a_queue_that_fills_up_stops_growing() -> None:
    assert growth_per_step([min(100 * number, 1000) for number in range(30)]) is None


def test_noise_of_batches_of_different_sizes_hardly_ever_looks_like_growth() -> None:
    draw = random.Random(0)
    found = [
        growth_per_step([draw.randrange(10**6) for _ in range(count)]) for count in range(9, 109) for _ in range(20)
    ]
    assert sum(growth is not None for growth in found) <= 2


@pytest.mark.parametrize(("ratio", "is_growth"), [(1, True), (2, True), (10, False)])
def test_memory_that_grows_ever_faster_is_not_steady(ratio: int, is_growth: bool) -> None:
    readings = [10 * number for number in range(20)] + [190 + 10 * ratio * number for number in range(1, 11)]
    assert (growth_per_step(readings) is not None) == is_growth
