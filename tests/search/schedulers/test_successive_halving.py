from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.search.schedulers.asha import AsynchronousSuccessiveHalving, make_rungs
from probe.search.schedulers.protocol import Promotion

quick = settings(deadline=None, max_examples=100)
scores = st.lists(st.floats(-10, 10), min_size=1, max_size=40)


def test_rungs_are_whole_multiples() -> None:
    assert make_rungs(1, 243, 3) == (1, 3, 9, 27, 81, 243)  # floor(log(243, 3)) is 4: a rung would be missing
    assert make_rungs(1, 1000, 10) == (1, 10, 100, 1000)
    assert make_rungs(5, 5, 3) == (5,)
    assert make_rungs(2, 27, 3) == (2, 6, 27)


def test_a_rung_just_below_the_top_is_left_out() -> None:
    assert make_rungs(1, 10, 3) == (1, 3, 10)
    assert make_rungs(1, 16, 3) == (1, 3, 9, 16)
    assert make_rungs(8, 9, 2) == (8, 9)  # but never the only one below it


@quick
@given(st.integers(1, 20), st.integers(0, 2000), st.integers(2, 10))
def test_rungs_grow_by_the_factor_from_the_lowest_to_the_highest(lowest: int, more: int, factor: int) -> None:
    rungs = make_rungs(lowest, lowest + more, factor)
    assert (rungs[0], rungs[-1]) == (lowest, lowest + more)
    assert all(lowest * factor**k == rung for k, rung in enumerate(rungs[:-1]))
    assert all(a < b for a, b in pairwise(rungs))
    if len(rungs) > 1:
        assert rungs[-1] < rungs[-2] * factor**2


@pytest.mark.parametrize("arguments", [(0, 3, 3), (4, 3, 3), (1, 3, 1)])
def test_nonsense_rungs_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        make_rungs(*arguments)


@quick
@given(scores, st.integers(2, 5), st.sampled_from(["max", "min"]))
def test_only_the_best_share_of_a_rung_climbs_and_the_best_first(values: list[float], factor: int, mode: str) -> None:
    scheduler = AsynchronousSuccessiveHalving((1, 3), factor=factor, mode="max" if mode == "max" else "min")
    for number, value in enumerate(values):
        scheduler.record(number, 0, value)
    climbed = []
    while (promotion := scheduler.next_promotion()) is not None:
        scheduler.promote(promotion)
        climbed.append(promotion.number)
    sign = -1 if mode == "max" else 1
    best_first = sorted(range(len(values)), key=lambda number: (sign * values[number], number))
    assert climbed == best_first[: len(values) // factor]


@quick
@given(st.lists(st.floats(-10, 10), min_size=3, max_size=60), st.integers(2, 4))
def test_one_in_factor_climbs_however_the_scores_improve(values: list[float], factor: int) -> None:
    """Trials arrive one after the other, and every promotion is taken at once."""
    scheduler = AsynchronousSuccessiveHalving((1, 2, 4), factor=factor, mode="max")
    climbed: set[int] = set()
    for number, value in enumerate(values):
        scheduler.record(number, 0, value)
        while (promotion := scheduler.next_promotion()) is not None:
            scheduler.promote(promotion)
            if promotion.rung == 1:
                top = sorted(range(number + 1), key=lambda n: (-values[n], n))[: (number + 1) // factor]
                assert promotion.number in top
                climbed.add(promotion.number)
            scheduler.record(promotion.number, promotion.rung, values[promotion.number])
        assert scheduler.num_promoted(0) == len(climbed) == (number + 1) // factor


@quick
@given(scores, st.integers(2, 5), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter_once_all_are_there(
    values: list[float], factor: int, shuffler: random.Random
) -> None:
    numbers = list(range(len(values)))
    shuffler.shuffle(numbers)
    schedulers = [AsynchronousSuccessiveHalving((1, 3), factor=factor, mode="max") for _ in range(2)]
    for scheduler, order in zip(schedulers, (range(len(values)), numbers), strict=True):
        for number in order:
            scheduler.record(number, 0, values[number])
    assert schedulers[0].next_promotion() == schedulers[1].next_promotion()


def test_the_highest_rung_goes_first_and_cost_is_respected() -> None:
    scheduler = AsynchronousSuccessiveHalving((1, 3, 9), factor=2, mode="max")
    for number in range(4):
        scheduler.record(number, 0, number)
    for number in (3, 2):
        scheduler.promote(Promotion(number=number, rung=1))
        scheduler.record(number, 1, number)
    assert scheduler.next_promotion() == Promotion(number=3, rung=2)
    assert scheduler.next_promotion(max_epochs=5) is None  # rung 0 has sent its two on, and 6 epochs are too many


def test_trials_that_died_count_as_ranked_last() -> None:
    scheduler = AsynchronousSuccessiveHalving((1, 3), factor=3, mode="max")
    scheduler.record(0, 0, 0.5)
    assert scheduler.next_promotion() is None
    scheduler.fail(1, 0)
    scheduler.fail(2, 0)
    assert scheduler.next_promotion() == Promotion(number=0, rung=1)


def test_when_closing_every_rung_sends_somebody_on() -> None:
    scheduler = AsynchronousSuccessiveHalving((1, 3), factor=3, mode="min")
    scheduler.record(0, 0, 0.5)
    scheduler.record(1, 0, 0.4)
    assert scheduler.next_promotion() is None
    promotion = scheduler.next_promotion(rule="closing")
    assert promotion == Promotion(number=1, rung=1)
    scheduler.promote(promotion)
    assert scheduler.next_promotion(rule="closing") is None
    assert scheduler.next_promotion(rule="open") == Promotion(number=0, rung=1)
    scheduler.fail(1, 1)  # the one that climbed died: the next best takes its place
    assert scheduler.next_promotion(rule="closing") == Promotion(number=0, rung=1)


def test_a_score_must_be_finite() -> None:
    with pytest.raises(ValueError, match="finite"):
        AsynchronousSuccessiveHalving((1,), factor=3, mode="max").record(0, 0, float("nan"))


@pytest.mark.parametrize("rungs", [(), (0, 1), (3, 1), (1, 1), (1, 3, 2)])
def test_rungs_are_positive_and_ascending(rungs: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="positive and ascending"):
        AsynchronousSuccessiveHalving(rungs, factor=3, mode="max")


def test_a_trial_that_was_completed_counts_on_its_rung_and_is_not_promoted() -> None:
    scheduler = AsynchronousSuccessiveHalving((1, 3), factor=2, mode="max")
    scheduler.complete(0, 0)
    scheduler.record(1, 0, 0.1)
    assert scheduler.num_ranked(0) == 2
    assert scheduler.paused() == [(1, 0)]
    assert scheduler.next_promotion() == Promotion(number=1, rung=1)
