"""Task.cache: every sample is read once, also where parts are divided and grow; what cannot be cached is refused."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from made_tasks import Words, made_task, pad
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset

import probe.loading.caches as sample_cache
from probe.device.cpu import CpuDevice
from probe.device.simulated import SimulatedDevice
from probe.errors import DataError, TaskError
from probe.loading.dataset import as_tensors, num_samples
from probe.loading.epoch_batches import LoadedBatches, TensorBatches, make_batches
from probe.loading.validation import hold_out, hold_out_fold, merge_validation, take_fraction
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings


class Counted(Dataset[Any]):
    """Samples of noise, so that one that is read again is another one."""

    def __init__(self, num_samples: int = 50, kind: str = "tuple") -> None:
        self.reads = [0] * num_samples
        self.kind = kind

    def __len__(self) -> int:
        return len(self.reads)

    def __getitem__(self, index: int) -> Any:
        self.reads[index] += 1
        row = torch.randn(6)
        match self.kind:
            case "tuple":
                return row, index % 3
            case "dict":
                return {"row": row, "class": index % 3}
            case "tensor":
                return row
            case "array":
                return row.numpy(), float(index)
        raise ValueError(self.kind)


def batches_of(task: Any, data: Any) -> Any:
    return make_batches(task, data, batch_size=8, device=CpuDevice(), seed=0, shuffle=True)


@pytest.mark.parametrize("kind", ["tuple", "dict", "tensor", "array"])
def test_samples_of_every_kind_are_read_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_cache, "_SAMPLES_PER_READ", 7)
    data = Counted(kind=kind)
    task = made_task(train=data, val=None, cache=True)
    batches = batches_of(task, data)
    assert isinstance(batches, TensorBatches)
    seen = [batch.content for _ in range(2) for batch in batches.epoch(0)]
    assert type(seen[0]) is {"tuple": list, "array": list, "dict": dict, "tensor": Tensor}[kind]
    assert data.reads == [1] * 50


def test_parts_that_are_divided_grow_and_are_merged_share_what_was_read() -> None:
    data = Counted()
    task = made_task(train=Subset(data, range(40)), val=None, cache=True, stratify=False)
    split = hold_out(task, fraction=0.25, seed=0)
    for thousandths in (100, 500, 1000):
        part = take_fraction(split, thousandths, seed=0)
        batches_of(part, part.train)
        assert sum(data.reads) == 10 + num_samples(part.train)
    for fold in range(2):
        folded = hold_out_fold(task, fold, num_folds=2, seed=0)
        train, val = as_tensors(folded.train, folded), as_tensors(folded.val, folded)
        assert train is not None
        assert val is not None
        assert train.tensors is val.tensors
    merged = merge_validation(split)
    batches_of(merged, ConcatDataset([merged.train, Subset(data, [41])]))
    assert data.reads == [1] * 40 + [0, 1] + [0] * 8


def test_rows_stay_those_of_their_samples_while_the_cache_grows() -> None:
    data = Counted(kind="array")
    task = made_task(train=Subset(data, [7, 3]), val=None, cache=True)
    for chosen in ([7, 3], [3, 40, 7, 0], [-1, 3]):
        found = as_tensors(Subset(data, chosen), task)
        assert found is not None
        assert [float(found.tensors[1][row]) for row in found.indices] == [index % 50 for index in chosen]


def test_a_cache_goes_with_its_data_set() -> None:
    data = Counted()
    as_tensors(data, made_task(train=data, val=None, cache=True))
    before = len(sample_cache._caches._held)
    del data
    gc.collect()
    assert len(sample_cache._caches._held) == before - 1


def test_with_a_collate_function_samples_of_any_shape_are_kept_as_they_are() -> None:
    class CountedWords(Words):
        reads = 0

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            CountedWords.reads += 1
            return super().__getitem__(index)

    whole = CountedWords()
    task = made_task(train=Subset(whole, range(20)), val=Subset(whole, range(20, 30)), collate=pad, cache=True)
    both: Any = ConcatDataset([task.val, task.train])
    for part in (task.train, task.val, both):
        batches = batches_of(task, part)
        assert isinstance(batches, LoadedBatches)
        lengths = [int(target) for _ in range(2) for batch in batches.epoch(0) for target in batch.content[1]]
        assert len(lengths) == 2 * batches.num_samples
    assert CountedWords.reads == 30


@pytest.mark.parametrize(
    ("samples", "what"),
    [
        ([torch.zeros(2), torch.zeros(3)], "equal size"),
        ([(torch.zeros(2), 1)] * 8 + [(torch.zeros(2), 1.5)] * 8, "torch.int64"),
        ([torch.zeros(2)] * 8 + [torch.zeros(3)] * 8, r"\(3,\)"),
        ([(torch.zeros(2), "name")] * 4, "a str"),
        ([object()] * 4, "found <class 'object'>"),
    ],
)
def test_samples_that_are_not_alike_are_refused(samples: Any, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_cache, "_SAMPLES_PER_READ", 8)
    with pytest.raises(TaskError, match=rf"Task.cache is True, but the samples of list .*{what}") as caught:
        as_tensors(samples, made_task(train=samples, val=None, cache=True))
    assert "remove cache=True" in str(caught.value.hint)


def test_more_than_the_host_has_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_cache, "free_memory_bytes", lambda: 1024)
    monkeypatch.setattr(sample_cache, "_SAMPLES_PER_READ", 8)
    data = Counted()
    with pytest.raises(DataError, match=r"50 samples of Counted .*1\.17 KiB .*1\.00 KiB"):
        as_tensors(data, made_task(train=data, val=None, cache=True))
    assert sum(data.reads) == 8


def test_what_is_read_does_not_count_as_memory_of_the_device() -> None:
    device = SimulatedDevice(20_000)
    for changes in ({"cache": True}, {}):
        data = Counted(2000)
        task = made_task(train=data, val=None, model=lambda: torch.nn.Linear(6, 3), **changes)
        with device.track():
            run = TrainingRun(task, TrainerSettings(batch_size=16), device=device, seed=0)
            assert run.train_epoch() is not None


def test_cache_is_yes_or_no() -> None:
    with pytest.raises(TaskError, match=r"Task.cache must be True or False, not 'disk'"):
        made_task(cache="disk")
