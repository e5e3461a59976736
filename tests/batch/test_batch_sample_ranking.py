"""Orders of samples by measures of their size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from probe.batch.sample_ranking import COMBINED, MAX_MEASURES, TOTAL, SampleRanking, is_length, rank


def ranked(columns: dict[str, list[float]], num_samples: int | None = None) -> SampleRanking:
    arrays = {name: np.array(column, dtype=np.float64) for name, column in columns.items()}
    count = max((len(array) for array in arrays.values()), default=0)
    return rank("train", arrays, measured=np.arange(count), num_samples=num_samples or count)


def test_samples_that_are_alike_have_no_order() -> None:
    found = ranked({TOTAL: [4.0] * 10, "[0].length": [2.0] * 10})
    assert found.orders == ()
    assert [indices.tolist() for indices in found.largest(4)] == [[0, 1, 2, 3]]
    assert [indices.tolist() for indices in found.largest(12)] == [[*range(10), 0, 1]]


def test_measures_that_agree_make_one_order() -> None:
    lengths = [float(number) for number in range(100)]
    found = ranked({TOTAL: lengths, "[0].length": [8 * length for length in lengths]})
    assert found.coverage.ranked_by == (TOTAL,)
    assert found.largest(3)[0].tolist() == [99, 98, 97]


def test_measures_that_disagree_are_tried_apart_and_together() -> None:
    rising = [float(number) for number in range(1, 101)]
    found = ranked({"source": rising, "target": rising[::-1]})
    assert found.coverage.ranked_by == ("source", "target", COMBINED)
    by_source, by_target, together = (set(indices.tolist()) for indices in found.largest(4))
    assert (by_source, by_target) == ({96, 97, 98, 99}, {0, 1, 2, 3})
    assert together == {0, 1, 98, 99}


def test_no_more_orders_than_steps_that_an_attempt_can_afford() -> None:
    columns = {f"[{number}]": [1.0] * 100 for number in range(10)}
    for number in range(10):
        columns[f"[{number}]"][10 * number : 10 * number + 10] = [9.0] * 10
    assert len(ranked(columns).orders) == MAX_MEASURES + 1


def test_where_few_samples_were_measured_the_costliest_are_repeated() -> None:
    arrays = {TOTAL: np.array([1.0, 3.0, 2.0])}
    found = rank("train", arrays, measured=np.array([70, 5, 900]), num_samples=1000)
    assert found.largest(5)[0].tolist() == [5, 900, 70, 5, 900]


@settings(deadline=None, max_examples=60)
@given(
    st_numpy.arrays(
        np.float64, st.tuples(st.integers(1, 4), st.integers(1, 200)), elements=st.integers(0, 10**6).map(float)
    ),
    st.integers(1, 64),
)
def test_every_order_holds_each_measured_sample_once_and_begins_with_the_largest(
    columns: np.ndarray[tuple[int, int], np.dtype[np.float64]], size: int
) -> None:
    named = {str(number): column for number, column in enumerate(columns)}
    found = rank("val", named, measured=np.arange(columns.shape[1]), num_samples=columns.shape[1])
    for name, order in zip(found.coverage.ranked_by, found.orders, strict=True):
        assert sorted(order.tolist()) == list(range(columns.shape[1]))
        if name != COMBINED:
            assert (np.diff(named[name][order]) <= 0).all()
    assert all(len(indices) == size for indices in found.largest(size))


@pytest.mark.parametrize(
    ("values", "extent", "expected"),
    [
        ([5, 90, 400], 400, True),
        ([0, 9, 5], 28, False),  # digits' classes beside images of 28 x 28
        ([-1, 90, 400], 400, False),
        ([5, 500], 400, False),
    ],
)
def test_integers_are_lengths_if_the_samples_have_such_extents(
    values: list[float], extent: int, expected: bool
) -> None:
    assert is_length(np.array(values, dtype=np.float64), extent) is expected
