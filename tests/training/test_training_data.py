"""Data as tensors and indices, batches and splits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_tasks import Rows, Words, made_data, made_task, pad
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from probe.device.cpu import CpuDevice
from probe.errors import DataError, TaskError
from probe.training.batches import LoadedBatches, TensorBatches, count_batches, make_batches
from probe.training.data import (
    as_tensors,
    hold_out,
    hold_out_fold,
    merge_validation,
    num_samples,
    take_share,
)


def test_tensors_are_used_where_they_can_be() -> None:
    plain = made_task()
    assert as_tensors(made_data(), plain) is not None
    rows = as_tensors(Rows(), plain)
    assert rows is not None
    assert torch.equal(rows.tensors[0], made_data(40)[0])
    assert as_tensors(Rows(transform=lambda row: row), plain) is None
    assert as_tensors(Subset(Rows(transform=lambda row: row), [1, 2]), plain) is None
    assert as_tensors(ConcatDataset([Rows(), Rows(transform=lambda row: row)]), plain) is None
    assert as_tensors(Words(), plain) is None
    assert as_tensors(Rows(), made_task(collate=pad)) is None


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
    assert [batch.content[0].tolist() for batch in batches.epoch(epoch, first=1)] == seen[1:]


def test_every_epoch_has_its_own_order_and_seeds_differ() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        task = made_task(train=(torch.arange(50), torch.zeros(50)))
        batches = make_batches(task, task.train, batch_size=50, device=CpuDevice(), seed=seed, shuffle=True)
        return next(iter(batches.epoch(epoch))).content[0].tolist()  # type: ignore[no-any-return]  # a pytree

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)}) == 6


def test_loaded_and_indexed_batches_are_the_same() -> None:
    task = made_task(train=Rows())
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
    tensors = as_tensors(data, made_task())
    assert tensors is not None
    rows: Tensor = tensors.tensors[0].index_select(0, torch.from_numpy(tensors.indices))
    return {tuple(row.tolist()) for row in rows}


@pytest.mark.parametrize("train", [made_data(), Rows(num_samples=120)])
def test_hold_out_and_merge(train: object) -> None:
    task = made_task(train=train, val=None)
    split = hold_out(task, share=0.25, seed=3)
    assert (num_samples(split.train), num_samples(split.val)) == (90, 30)
    assert not members(split.train) & members(split.val)
    assert members(split.train) | members(split.val) == members(train)
    merged = merge_validation(split)
    assert merged.val is None
    assert members(merged.train) == members(train)


def test_hold_out_keeps_class_proportions() -> None:
    targets = torch.tensor([0] * 80 + [1] * 20)
    split = hold_out(made_task(train=(torch.arange(100.0), targets), val=None), share=0.2, seed=0)
    held = as_tensors(split.val, split)
    assert held is not None
    assert targets[held.indices].sum() == 4


def test_time_series_hold_out_takes_the_end() -> None:
    series = made_task(train=(torch.arange(10.0), torch.arange(10.0)), val=None, time_steps=10)
    split = hold_out(series, share=0.3, seed=0)
    assert members_of_series(split.val) == [7, 8, 9]
    assert members_of_series(split.train) == [0, 1, 2, 3, 4, 5, 6]
    assert members_of_series(take_share(split, 300, seed=0).train) == [4, 5, 6], "the latest"
    assert members_of_series(merge_validation(split).train) == list(range(10))
    assert merge_validation(take_share(split, 300, seed=0)).time_steps == 6


@pytest.mark.parametrize("window", [1, 3, 8])
def test_windows_of_any_length_are_validated_on_the_same_targets(window: int) -> None:
    targets = torch.arange(20.0)[window:]  # one sample for every step that has a whole window before it
    split = hold_out(made_task(train=(targets, targets), val=None, time_steps=20), share=0.25, seed=0)
    assert split.val is not None
    assert [int(split.val[index][1]) for index in range(len(split.val))] == [15, 16, 17, 18, 19]
    assert len(split.train) == 15 - window


def test_time_order_and_what_contradicts_it() -> None:
    series = made_task(train=(torch.arange(4.0), torch.arange(4.0)), val=None, time_steps=20)
    with pytest.raises(
        DataError, match="The last 5 of 20 time steps are to be held out, and only 4 of them are samples"
    ):
        hold_out(series, share=0.25, seed=0)
    with pytest.raises(DataError, match="time order, and k-fold validation would train on what comes after"):
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
