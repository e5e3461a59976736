"""Subset and ConcatDataset are seen through; what reads samples in its own way is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from probe.loading.origins import origins_of, reads_as, tensors_behind


class Twice(Subset[Any]):
    def __getitem__(self, index: Any) -> Any:
        return 2 * self.dataset[self.indices[index]]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [self[index] for index in indices]


class Noisy(TensorDataset):
    def __getitem__(self, index: int) -> Any:
        return tuple(tensor[index] + torch.rand(()) for tensor in self.tensors)


class Batched(TensorDataset):
    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [tuple(tensor + torch.rand(()) for tensor in self[index]) for index in indices]


LEAVES = [list(range(10)), list(range(100, 107)), list(range(200, 203))]


def nested(depth: int) -> st.SearchStrategy[Any]:
    """Data sets of numbers, made of Subsets and ConcatDatasets in any order."""
    leaf = st.sampled_from(LEAVES)
    if depth == 0:
        return leaf
    inner = nested(depth - 1)
    subsets = inner.flatmap(
        lambda data: st.lists(st.integers(-len(data), len(data) - 1), min_size=1, max_size=12).map(
            lambda indices: Subset(data, indices)
        )
    )
    return st.one_of(leaf, subsets, st.lists(inner, min_size=1, max_size=3).map(ConcatDataset))


@given(nested(3))
def test_every_sample_is_where_its_origin_says(data: Any) -> None:
    origins = origins_of(data)
    found = [origins.bases[number][index] for number, index in zip(origins.base_of, origins.index, strict=True)]
    assert found == [data[index] for index in range(len(data))]
    assert len({id(base) for base in origins.bases}) == len(origins.bases)
    for base in origins.bases:
        assert {base[index] for index in origins.of(base)} == {value for value in found if value in base}


@pytest.mark.parametrize("make", [Noisy, Batched])
def test_a_data_set_with_its_own_way_to_read_is_no_tensors(make: Any) -> None:
    assert tensors_behind(make(torch.zeros(4, 2))) is None
    assert tensors_behind(TensorDataset(torch.zeros(4, 2))) is not None


def test_a_subset_with_its_own_way_to_read_is_not_seen_through() -> None:
    twice = Twice(torch.arange(5), [3, 1])  # type: ignore[arg-type]  # a tensor is indexed as a data set is
    assert not reads_as(twice, Subset)
    assert origins_of(twice).bases == (twice,)
    outer: Dataset[Any] = Subset(twice, [1])
    assert origins_of(outer).bases == (twice,)
    assert origins_of(outer).index.tolist() == [1]
