"""Data as tensors and indices, batches and splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_tasks import Rows, Words, made_data, made_task, pad
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset, random_split

from probe.device.cpu import CpuDevice
from probe.device.simulated import SimulatedDevice
from probe.errors import DataError, TaskError
from probe.loading.dataset import as_tensors, num_samples, origins_of, reads_as, tensor_bytes, tensors_behind
from probe.loading.epoch_batches import LoadedBatches, TensorBatches, count_batches, make_batches
from probe.loading.validation import hold_out, hold_out_fold, merge_validation, take_fraction


def test_only_what_cannot_be_random_is_taken_for_tensors() -> None:
    plain, dataset = made_task(), TensorDataset(*made_data())
    rows: Any = Rows()
    fixed: list[Any] = [made_data(), dataset, Subset(dataset, [1, 2]), ConcatDataset([dataset, Subset(dataset, [0])])]
    assert all(as_tensors(data, plain) is not None for data in fixed)
    read: list[Any] = [rows, Subset(rows, [1, 2]), ConcatDataset([dataset, rows]), Words(), [(torch.zeros(6), 1)]]
    assert all(as_tensors(data, plain) is None for data in read)
    assert all(as_tensors(data, made_task(collate=pad)) is None for data in (made_data(), dataset, rows))


@pytest.mark.parametrize("num_alike", [2, 45, 100])
def test_however_long_samples_look_alike_they_are_read_anew(num_alike: int) -> None:
    """Augmentation that rarely does anything, in parts that are held out, joined or drawn at random alike."""
    views: list[Callable[[Any], Any]] = [
        lambda data: data,
        lambda data: Subset(data, range(20)),
        lambda data: random_split(data, [30, 10])[0],
        lambda data: ConcatDataset([data, TensorDataset(*made_data(40))]),
    ]
    for view in views:
        reads = count()
        part = view(Rows(transform=lambda row, reads=reads: row + (next(reads) >= num_alike)))
        task = made_task(train=part)
        batches = make_batches(task, part, batch_size=8, device=CpuDevice(), seed=0, shuffle=False)
        epochs = [torch.cat([batch.content[0] for batch in batches.epoch(number)]) for number in range(7)]
        assert torch.equal(epochs[-1], epochs[-2])
        assert not torch.equal(epochs[0], epochs[-1])


def test_a_joined_data_set_is_one_copy_of_its_tensors() -> None:
    one, two = TensorDataset(*made_data(20)), TensorDataset(*made_data(30, seed=1))
    whole: Any = ConcatDataset([Subset(two, [4, 2]), one, two])
    task = made_task(train=Subset(whole, range(5)), val=Subset(whole, range(5, 52)))
    other: Any = ConcatDataset([two, one])
    train, val, test = (as_tensors(part, task) for part in (task.train, task.val, other))
    assert train is not None
    assert val is not None
    assert test is not None
    assert train.tensors[0].data_ptr() == val.tensors[0].data_ptr()
    assert len(train.tensors[0]) == 50
    rows = [tensors.tensors[0][index] for tensors in (train, val) for index in tensors.indices]
    assert all(torch.equal(row, whole[number][0]) for number, row in enumerate(rows))
    inside = as_tensors(ConcatDataset([Subset(one, [1]), one]), task)
    assert inside is not None
    assert inside.tensors[0].data_ptr() == one.tensors[0].data_ptr()
    assert as_tensors(ConcatDataset([one, TensorDataset(torch.zeros(3, 9), torch.zeros(3))]), task) is None


def test_the_memory_of_the_data_counts_shared_tensors_once() -> None:
    inputs, targets = made_data(40)
    own = inputs.nbytes + targets.nbytes
    assert tensor_bytes(made_task(train=(inputs, targets), val=None)) == own
    assert tensor_bytes(hold_out(made_task(train=(inputs, targets), val=None), fraction=0.25, seed=0)) == own
    assert tensor_bytes(made_task(train=(inputs, targets), val=made_data(20))) == 1.5 * own
    assert tensor_bytes(made_task(train=Rows(), val=(inputs, targets))) == own


@pytest.mark.parametrize("limit_bytes", [10**6, 1000])
def test_tensors_of_the_host_are_copied_only_where_they_do_not_stay(limit_bytes: int) -> None:
    """On the simulated device, where staying costs nothing, both ways are the same batches."""
    task = made_task()
    batches = make_batches(task, task.train, batch_size=16, device=SimulatedDevice(limit_bytes), seed=0, shuffle=True)
    plain = make_batches(task, task.train, batch_size=16, device=CpuDevice(), seed=0, shuffle=True)
    for found, expected in zip(batches.epoch(1), plain.epoch(1), strict=True):
        assert torch.equal(found.content[0], expected.content[0])


def test_tensors_go_through_a_collate_function() -> None:
    task = made_task(
        collate=lambda samples: (torch.stack([row for row, _ in samples]), torch.tensor([7] * len(samples)))
    )
    batches = make_batches(task, task.train, batch_size=50, device=CpuDevice(), seed=0, shuffle=True)
    assert [batch.content[1].tolist() for batch in batches.epoch(0)] == [[7] * 50, [7] * 50, [7] * 20]


def test_subsets_of_subsets_are_indices_over_one_tensor() -> None:
    inputs, targets = made_data()
    base = TensorDataset(inputs, targets)
    data = as_tensors(Subset(Subset(base, [5, 7, 9, 11]), [3, 0]), made_task())
    assert data is not None
    assert data.tensors[0].data_ptr() == inputs.data_ptr()
    assert data.indices.tolist() == [11, 5]


@given(st.integers(1, 200), st.integers(1, 64), st.integers(0, 5), st.booleans())
@settings(deadline=None, max_examples=60)
def test_an_epoch_visits_every_sample_once(samples: int, batch_size: int, epoch: int, shuffle: bool) -> None:
    task = made_task(train=(torch.arange(samples), torch.zeros(samples)))
    batches = make_batches(task, task.train, batch_size=batch_size, device=CpuDevice(), seed=1, shuffle=shuffle)
    seen = [batch.content[0].tolist() for batch in batches.epoch(epoch)]
    assert len(seen) == batches.num_batches
    assert all(len(batch) == batch_size for batch in seen[:-1])
    flat = [sample for batch in seen for sample in batch]
    left_out = 1 if shuffle and samples > batch_size and samples % batch_size == 1 else 0
    assert len(set(flat)) == len(flat) == samples - left_out
    if not shuffle:
        assert flat == list(range(samples))


def test_every_epoch_has_its_own_order_and_seeds_differ() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        task = made_task(train=(torch.arange(50), torch.zeros(50)))
        batches = make_batches(task, task.train, batch_size=50, device=CpuDevice(), seed=seed, shuffle=True)
        return next(iter(batches.epoch(epoch))).content[0].tolist()  # type: ignore[no-any-return]  # a pytree

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)}) == 6


def test_loaded_and_indexed_batches_are_the_same() -> None:
    task = made_task(train=Rows(), cache=True)
    data = as_tensors(task.train, task)
    assert data is not None
    indexed = TensorBatches(data, batch_size=8, device=CpuDevice(), seed=4, shuffle=True)
    loaded = LoadedBatches(task, task.train, batch_size=8, device=CpuDevice(), seed=4, shuffle=True)
    for a, b in zip(indexed.epoch(2), loaded.epoch(2), strict=True):
        assert torch.equal(a.content[0], b.content[0])
        assert torch.equal(a.content[1], b.content[1])


def test_a_single_last_sample_is_left_out_of_training_only() -> None:
    assert count_batches(33, 16, training=True) == 2
    assert count_batches(33, 16, training=False) == 3
    assert count_batches(1, 16, training=True) == 1
    assert count_batches(34, 16, training=True) == 3


def members(data: object) -> set[tuple[float, ...]]:
    tensors = as_tensors(data, made_task(cache=True))
    assert tensors is not None
    rows: Tensor = tensors.tensors[0].index_select(0, torch.from_numpy(tensors.indices))
    return {tuple(row.tolist()) for row in rows}


@pytest.mark.parametrize("train", [made_data(), Rows(num_samples=120)])
def test_hold_out_and_merge(train: object) -> None:
    task = made_task(train=train, val=None)
    split = hold_out(task, fraction=0.25, seed=3)
    assert (num_samples(split.train), num_samples(split.val)) == (90, 30)
    assert not members(split.train) & members(split.val)
    assert members(split.train) | members(split.val) == members(train)
    merged = merge_validation(split)
    assert merged.val is None
    assert members(merged.train) == members(train)


def test_hold_out_keeps_class_proportions() -> None:
    targets = torch.tensor([0] * 80 + [1] * 20)
    split = hold_out(made_task(train=(torch.arange(100.0), targets), val=None), fraction=0.2, seed=0)
    held = as_tensors(split.val, split)
    assert held is not None
    assert targets[held.indices].sum() == 4


class Labelled(Dataset[Any]):
    """Samples that must not be read: their classes are known without."""

    def __init__(self, targets: Any) -> None:
        self.targets = targets

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> Any:
        raise AssertionError(index)


CLASSES = [0] * 80 + [1] * 20


@pytest.mark.parametrize("targets", [CLASSES, torch.tensor(CLASSES), np.array(CLASSES), list(np.array(CLASSES))])
def test_classes_are_taken_from_the_targets_of_a_data_set(targets: Any) -> None:
    whole = Labelled(targets)
    halves: Any = ConcatDataset([Subset(whole, range(50)), Subset(whole, range(50, 100))])
    views: list[Any] = [whole, Subset(whole, range(100)), halves]
    for data in views:
        task = made_task(train=data, val=None)
        split = hold_out(task, fraction=0.2, seed=0)
        assert sum(CLASSES[index] for index in split.val.indices) == 4
        assert sum(CLASSES[index] for index in take_fraction(task, 100, seed=0).train.indices) == 2
        assert sum(CLASSES[index] for index in hold_out_fold(task, 0, num_folds=5, seed=0).val.indices) == 4


@pytest.mark.parametrize("targets", [["a", "b"] * 50, [[1], [2, 3]] * 50, [0.5] * 100, None])
def test_what_are_no_classes_is_not_stratified(targets: Any) -> None:
    assert num_samples(hold_out(made_task(train=Labelled(targets), val=None), fraction=0.25, seed=0).val) == 25


class Doubled(Subset[Any]):
    def __getitem__(self, index: Any) -> Any:
        row, target = self.dataset[self.indices[index]]
        return 2 * row, target

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [self[index] for index in indices]


def test_a_subset_that_transforms_its_samples_goes_on_doing_so_when_parts_are_merged() -> None:
    whole = TensorDataset(*made_data())
    merged = merge_validation(made_task(train=Doubled(whole, range(100)), val=Subset(whole, range(100, 120))))
    assert torch.equal(merged.train[3][0], 2 * whole[3][0])
    assert torch.equal(merged.train[110][0], whole[110][0])


def test_time_series_hold_out_takes_the_end() -> None:
    series = made_task(train=(torch.arange(10.0), torch.arange(10.0)), val=None, time_steps=10)
    split = hold_out(series, fraction=0.3, seed=0)
    assert members_of_series(split.val) == [7, 8, 9]
    assert members_of_series(split.train) == [0, 1, 2, 3, 4, 5, 6]
    assert members_of_series(take_fraction(split, 300, seed=0).train) == [4, 5, 6], "the latest"
    assert members_of_series(merge_validation(split).train) == list(range(10))
    assert merge_validation(take_fraction(split, 300, seed=0)).time_steps == 6


@pytest.mark.parametrize("window", [1, 3, 8])
def test_windows_of_any_length_are_validated_on_the_same_targets(window: int) -> None:
    targets = torch.arange(20.0)[window:]  # one sample for every step that has a whole window before it
    split = hold_out(made_task(train=(targets, targets), val=None, time_steps=20), fraction=0.25, seed=0)
    assert split.val is not None
    assert [int(split.val[index][1]) for index in range(len(split.val))] == [15, 16, 17, 18, 19]
    assert len(split.train) == 15 - window


def test_time_order_and_what_contradicts_it() -> None:
    series = made_task(train=(torch.arange(4.0), torch.arange(4.0)), val=None, time_steps=20)
    with pytest.raises(DataError, match=r"last 5 of 20 time steps .*4 samples"):
        hold_out(series, fraction=0.25, seed=0)
    with pytest.raises(DataError, match="time series"):
        hold_out_fold(series, 0, num_folds=2, seed=0)
    with pytest.raises(TaskError, match=r"Task.time_steps is 3, fewer than the 4 training samples"):
        replace(series, time_steps=3)


def members_of_series(data: object) -> list[int]:
    tensors = as_tensors(data, made_task())
    assert tensors is not None
    return [int(index) for index in tensors.indices]


def test_merge_of_separate_parts() -> None:
    merged = merge_validation(made_task())
    assert num_samples(merged.train) == 165
    merged = merge_validation(made_task(train=Rows(), val=Rows(num_samples=10)))
    assert num_samples(merged.train) == 50


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
