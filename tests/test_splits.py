from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from probe.errors import DataError
from probe.splits import fold_numbers, hold_out_indices, subset_indices

SHARES = st.floats(0.01, 0.99)
SEEDS = st.integers(0, 2**63 - 1)


def assert_partition(rest: np.ndarray, held_out: np.ndarray, num_samples: int) -> None:
    assert rest.dtype == held_out.dtype == np.int64
    assert len(rest) >= 1
    assert len(held_out) >= 1
    assert sorted([*rest, *held_out]) == list(range(num_samples))
    assert list(rest) == sorted(rest)
    assert list(held_out) == sorted(held_out)


@settings(deadline=None, max_examples=100)
@given(num_samples=st.integers(2, 300), share=SHARES, seed=SEEDS, in_time_order=st.booleans())
def test_every_sample_is_on_exactly_one_side_and_equal_arguments_give_equal_parts(
    num_samples: int, share: float, seed: int, in_time_order: bool
) -> None:
    first, second = (
        hold_out_indices(num_samples, fraction=share, seed=seed, labels=None, in_time_order=in_time_order)
        for _ in range(2)
    )
    assert_partition(*first, num_samples)
    assert abs(len(first[1]) - share * num_samples) <= 1
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@settings(deadline=None, max_examples=100)
@given(
    sizes=st.lists(st.integers(2, 60), min_size=1, max_size=6),
    share=SHARES,
    seed=SEEDS,
)
def test_stratified_parts_keep_the_proportions_of_the_classes(sizes: list[int], share: float, seed: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    num_held_out = min(max(1, round(share * len(labels))), len(labels) - 1)
    assume(min(num_held_out, len(labels) - num_held_out) >= len(sizes))
    rest, held_out = hold_out_indices(len(labels), fraction=share, seed=seed, labels=labels)
    assert_partition(rest, held_out, len(labels))
    assert len(held_out) == num_held_out
    for name, size in enumerate(sizes):
        inside = int((labels[held_out] == name).sum())
        assert 1 <= inside <= size - 1
        # Off by one for rounding, and by what other classes need for their one sample on either side.
        assert abs(inside - num_held_out * size / len(labels)) < 1 + len(sizes) / 2


def test_every_member_of_a_class_is_held_out_equally_often() -> None:
    labels = [0] * 12 + [1] * 4
    times = np.zeros(16)
    for seed in range(400):
        times[hold_out_indices(16, fraction=0.25, seed=seed, labels=labels)[1]] += 1
    # 400 draws with probability 1/4: 100 each, standard deviation 8.7; six of them is a false alarm in 5e8 samples.
    assert np.abs(times - 100).max() < 52


def test_another_seed_gives_another_part_and_seeds_beyond_32_bits_are_told_apart() -> None:
    labels = [0, 1] * 50
    parts = [tuple(hold_out_indices(100, fraction=0.2, seed=seed, labels=labels)[1]) for seed in (0, 1, 2**40 + 7)]
    assert len(set(parts)) == 3


def test_in_time_order_the_tail_is_held_out_whatever_labels_and_seed() -> None:
    rest, held_out = hold_out_indices(10, fraction=0.3, seed=5, labels=[0] * 9 + [1], in_time_order=True)
    assert list(rest) == [0, 1, 2, 3, 4, 5, 6]
    assert list(held_out) == [7, 8, 9]


def test_a_class_of_one_sample_is_named() -> None:
    with pytest.raises(DataError, match="Class 7 has a single sample"):
        hold_out_indices(9, fraction=0.3, seed=0, labels=[1, 1, 1, 1, 2, 2, 2, 2, 7])


def test_a_part_too_small_for_the_classes_is_refused() -> None:
    with pytest.raises(DataError, match=r"2 of 20 samples .* 10 classes"):
        hold_out_indices(20, fraction=0.1, seed=0, labels=list(range(10)) * 2)


@pytest.mark.parametrize("num_samples", [0, 1])
def test_nothing_can_be_held_out_of_fewer_than_two_samples(num_samples: int) -> None:
    with pytest.raises(DataError, match=f"out of {num_samples} sample"):
        hold_out_indices(num_samples, fraction=0.5, seed=0, labels=None)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_outside_zero_to_one_is_the_callers_mistake(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        hold_out_indices(10, fraction=share, seed=0, labels=None)


def test_labels_of_another_length_are_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="one label for each of 10 samples"):
        hold_out_indices(10, fraction=0.5, seed=0, labels=[0, 1])


@settings(deadline=None, max_examples=100)
@given(
    sizes=st.lists(st.integers(2, 30), min_size=1, max_size=6), num_folds=st.integers(2, 10), seed=SEEDS, shuffle=SEEDS
)
def test_folds_are_even_in_size_and_in_every_class(sizes: list[int], num_folds: int, seed: int, shuffle: int) -> None:
    labels = np.random.default_rng(shuffle).permutation(np.repeat(np.arange(len(sizes)), sizes))
    assume(len(labels) >= num_folds)
    folds = fold_numbers(len(labels), num_folds=num_folds, seed=seed, labels=labels)
    np.testing.assert_array_equal(folds, fold_numbers(len(labels), num_folds=num_folds, seed=seed, labels=labels))
    for chosen in (slice(None), *(labels == name for name in range(len(sizes)))):
        counts = np.bincount(folds[chosen], minlength=num_folds)
        assert len(counts) == num_folds
        assert counts.max() - counts.min() <= 1
    for fold in range(num_folds):
        assert set(labels[folds != fold]) == set(labels)


def test_folds_without_labels_and_folds_that_cannot_be() -> None:
    assert sorted(np.bincount(fold_numbers(11, num_folds=3, seed=0, labels=None))) == [3, 4, 4]
    with pytest.raises(DataError, match="3 samples cannot be divided into 4 folds"):
        fold_numbers(3, num_folds=4, seed=0, labels=None)
    with pytest.raises(DataError, match="Class 7 has a single sample"):
        fold_numbers(5, num_folds=2, seed=0, labels=[1, 1, 1, 1, 7])


@settings(deadline=None, max_examples=100)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6), seed=SEEDS, counts=st.tuples(SHARES, SHARES))
def test_shares_are_stratified_and_hold_every_smaller_share(
    sizes: list[int], seed: int, counts: tuple[float, float]
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    smaller, larger = sorted(max(1, round(share * len(labels))) for share in counts)
    few, many = (subset_indices(len(labels), count=count, seed=seed, labels=labels) for count in (smaller, larger))
    assert len(few) == smaller == len(set(few))
    assert list(few) == sorted(few)
    assert set(few) <= set(many)
    if smaller >= len(sizes):
        assert set(labels[few]) == set(labels)
    for name, size in enumerate(sizes):
        assert abs((labels[few] == name).sum() - smaller * size / len(labels)) <= 1 + len(sizes)
