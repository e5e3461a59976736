from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from probe.loading.overlap import COPIED_FRACTION, TOLERATED_FRACTION, SplitSamples, find_overlaps
from probe.loading.records import overlap_warnings, shared_test_samples

indices = st.lists(st.integers(0, 60), min_size=1, max_size=60)


def part(places: list[int], rows: list[int] | None = None, *, space: str = "a") -> SplitSamples:
    found = np.array(rows if rows is not None else [10_000 + hash((space, place)) % 2**32 for place in places])
    return SplitSamples(num_samples=len(places), places={space: np.array(places)}, rows=found.astype(np.uint64))


@given(indices, indices)
def test_samples_at_the_same_place_are_counted(one: list[int], other: list[int]) -> None:
    found = find_overlaps({"train": part(one), "test": part(other)})
    shared = sum(place in one for place in other)
    assert sum(overlap.num_shared for overlap in found) == shared
    for overlap in found:
        assert (overlap.first, overlap.second, overlap.kind, overlap.num_compared) == (
            "train",
            "test",
            "same",
            len(other),
        )
        assert overlap.is_error == (shared > TOLERATED_FRACTION * min(len(one), len(other)))
    assert shared_test_samples(found) == shared


@given(indices, indices)
def test_places_in_other_data_sets_are_other_places(one: list[int], other: list[int]) -> None:
    assert find_overlaps({"train": part(one, space="a"), "val": part(other, space="b")}) == ()


@given(indices, indices)
def test_equal_samples_are_counted_and_copies_of_distinct_ones_refused(one: list[int], other: list[int]) -> None:
    train, val = part(list(range(len(one))), one), part([100 + k for k in range(len(other))], other)
    found = find_overlaps({"train": train, "val": val})
    shared = sum(row in one for row in other)
    assert sum(overlap.num_shared for overlap in found) == shared
    for overlap in found:
        assert overlap.kind == "equal"
        is_copied = shared >= COPIED_FRACTION * len(other) and 2 * len(set(one)) >= len(one)
        assert overlap.is_error == is_copied


def test_few_values_that_occur_anywhere_are_no_copies() -> None:
    [overlap] = find_overlaps({"train": part(list(range(40)), [1, 2, 3, 4] * 10), "test": part([90, 91], [1, 2])})
    assert (overlap.num_shared, overlap.is_error) == (2, False)


def test_each_pair_is_told_once_and_by_name() -> None:
    parts = {"train": part([1, 2, 3]), "val": part([3, 4]), "test": part([4, 5])}
    found = find_overlaps(parts)
    assert [(overlap.first, overlap.second) for overlap in found] == [("train", "val"), ("val", "test")]
    assert found[1].text == "1 of 2 test samples are also validation samples"
    assert "test scores" in overlap_warnings(found)[1]
