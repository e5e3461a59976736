"""What the steps of an attempt say about memory: growth, and a cache that is emptied again and again."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.batch.progress import (
    MAX_STEPS_LEFT,
    MIN_READINGS,
    Progress,
    growth_per_step,
    growth_until_full,
    is_thrashing,
    steady_flushes,
)
from probe.batch.records import MemoryGrowth


def test_flushes_of_the_first_steps_do_not_count() -> None:
    assert steady_flushes([3, 5, 6, 6, 6, 6]) == (0, 3)
    assert steady_flushes([0, 0, 0, 1, 1, 3]) == (2, 3)
    assert steady_flushes([7]) == steady_flushes([]) == (0, 0)
    assert is_thrashing(1, 3)
    assert not is_thrashing(1, 30)
    assert not is_thrashing(0, 0)


@given(st.lists(st.integers(0, 3), max_size=50))
def test_at_least_as_many_steps_come_before_those_that_count(retries: list[int]) -> None:
    totals = [sum(retries[: number + 1]) for number in range(len(retries))]
    num_flushes, num_steps = steady_flushes(totals)
    assert num_steps == len(retries) // 2
    assert num_flushes == sum(count > 0 for count in retries[len(retries) - num_steps :])


def test_what_thrashes_is_the_shuffled_or_the_timed_steps() -> None:
    assert Progress(num_retries=[9, 9, 9, 9], timed_flushes=(0, 3)).thrashing is None
    assert Progress(num_retries=[0, 1, 2, 3], timed_flushes=(0, 3)).thrashing == (2, 2)
    assert Progress(timed_flushes=(3, 3)).thrashing == (3, 3)


def test_memory_that_grows_does_not_thrash() -> None:
    growth = MemoryGrowth(bytes_per_step=1e6, last_step=40)
    assert Progress(num_retries=[0, 1, 2, 3], timed_flushes=(1, 1), growth=growth).thrashing is None


def test_growth_lasts_until_memory_is_full() -> None:
    assert growth_until_full(10.0, 1000, 12) == MemoryGrowth(bytes_per_step=10.0, last_step=112)
    assert growth_until_full(10.0, -5, 12) == MemoryGrowth(bytes_per_step=10.0, last_step=12)
    assert growth_until_full(1.0, MAX_STEPS_LEFT, 0) is None


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
