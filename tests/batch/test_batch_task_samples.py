"""Sizes of samples of many types."""

from __future__ import annotations

import random
from collections import UserDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset, Subset

from probe.batch import task_samples
from probe.batch.sample_ranking import TOTAL, SampleRanking
from probe.batch.task_samples import NUM_PILOT_SAMPLES, load_batch, rank_samples
from probe.errors import UserCodeError
from probe.task import Task


@dataclass
class Recording:
    waves: Tensor
    name: str


class Graph:
    """Implements `to`, like graphs of PyTorch Geometric."""

    def __init__(self, num_nodes: int) -> None:
        self.nodes = torch.zeros(num_nodes, 3)
        self.name = "a graph"

    def to(self, device: torch.device) -> Graph:
        self.nodes = self.nodes.to(device)
        return self


class Plain:
    """A class of the user, which the collate function unpacks."""

    def __init__(self, length: int) -> None:
        self.ids = [1] * length


class Opaque:
    __slots__ = ()


FORMS: dict[str, Callable[[int], Any]] = {
    "a tensor": lambda length: torch.zeros(length),
    "a tuple of a tensor and a class": lambda length: (torch.zeros(length), 1),
    "a list of numbers": lambda length: ([1] * length, 0),
    "a NumPy array": lambda length: (np.arange(length), 0),
    "an array of strings": lambda length: np.array(["word"] * length),
    "a text": lambda length: ("word " * length, 0),
    "a dict of lists": lambda length: {"input_ids": [1] * length, "label": 1},
    "a mapping of lists": lambda length: UserDict(input_ids=[1] * length),
    "boxes": lambda length: (torch.zeros(3, 64, 64), {"boxes": torch.zeros(length, 4)}),
    "a list of tensors": lambda length: [torch.zeros(10)] * length,
    "words": lambda length: ["word"] * length,
    "a dataclass": lambda length: Recording(torch.zeros(2, length), "its name"),
    "a graph": Graph,
    "an object": Plain,
    "an image": lambda length: (Image.new("RGB", (length, 20)), 1),
    "a sparse tensor": lambda length: torch.ones(1, length).to_sparse(),
    "a read-only array": lambda length: np.broadcast_to(np.int64(1), (length,)),
    "padded ids": lambda length: (torch.tensor([1] * length + [0] * (60 - length)), 1),
    "padded lists": lambda length: {"input_ids": [7] * length + [0] * (60 - length)},
    "a mask": lambda length: (torch.zeros(60, 8), torch.arange(60) < length),
    "a length beside padded frames": lambda length: (torch.zeros(60, 8), length, 3),
    "a length as a tensor": lambda length: (torch.zeros(60, 8), torch.tensor(length)),
}


def collated(samples: list[Any]) -> Any:
    return torch.zeros(len(samples), 1), samples


def ranking_of(data: Any, **fields: Any) -> SampleRanking:
    (found,) = rank_samples(Task(model=lambda: nn.Linear(1, 1), train=data, **fields), seed=0)
    return found


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_the_largest_samples_are_found_wherever_they_are(form: Callable[[int], Any]) -> None:
    lengths = list(range(1, 61)) * 5
    random.Random(0).shuffle(lengths)
    found = ranking_of([form(length) for length in lengths], collate=collated)
    assert sorted(lengths[index] for index in found.largest(20)[0]) == [57] * 5 + [58] * 5 + [59] * 5 + [60] * 5
    assert (found.coverage.num_measured, found.coverage.unmeasured) == (300, ())


def test_long_samples_at_the_end_of_a_large_data_set_are_found() -> None:
    lengths = [2] * 12_000 + [50] * 40
    found = ranking_of([[1] * length for length in lengths], collate=collated)
    assert set(found.largest(40)[0].tolist()) == set(range(12_000, 12_040))


def test_what_cannot_be_measured_is_named() -> None:
    assert ranking_of([(Opaque(), 1)] * 4, collate=collated).coverage.unmeasured == ("Opaque",)


@pytest.mark.parametrize("lengths_dtype", [torch.int64, torch.int32])
def test_lengths_beside_padded_tensors_order_samples_in_memory(lengths_dtype: torch.dtype) -> None:
    lengths = torch.randperm(200, generator=torch.Generator().manual_seed(0)) + 1
    found = ranking_of((torch.zeros(200, 200, 4), lengths.to(lengths_dtype), torch.arange(200) % 2))
    assert found.coverage.ranked_by == ("[1].value",)
    assert lengths[torch.from_numpy(found.largest(3)[0])].tolist() == [200, 199, 198]


def test_padding_of_token_ids_in_memory_is_left_out() -> None:
    ids = (torch.arange(30)[None] < torch.arange(1, 25)[:, None]).long() * 7
    found = ranking_of((ids, torch.arange(24) % 2))
    assert found.coverage.ranked_by == ("[0].non-zero",)
    assert found.largest(2)[0].tolist() == [23, 22]


def test_parts_of_a_data_set_are_ranked_by_their_own_indices() -> None:
    ids = (torch.arange(30)[None] < torch.arange(1, 25)[:, None]).long()
    part = Subset(torch.utils.data.TensorDataset(ids, torch.zeros(24)), [20, 3, 10])
    found = ranking_of(part)
    assert found.largest(3)[0].tolist() == [0, 2, 1]
    task = Task(model=lambda: nn.Linear(1, 1), train=part)
    assert load_batch(task, part, found.largest(1)[0]).content[0].sum() == 21


def test_images_and_classes_in_memory_are_alike() -> None:
    assert ranking_of((torch.rand(50, 3, 32, 32), torch.arange(50) % 10)).orders == ()
    assert ranking_of((torch.zeros(50, 3, 32, 32, dtype=torch.uint8), torch.arange(50) % 10)).orders == ()


def test_images_of_several_shapes_are_tried_by_each_side() -> None:
    """A collate function that pads them makes a batch as high as the highest and as wide as the widest."""
    shapes = [(10, 90), (90, 10), (20, 20), (30, 30)] * 20
    found = ranking_of([torch.zeros(1, *shape) for shape in shapes], collate=collated)
    batches = [{shapes[index] for index in indices} for indices in found.largest(8)]
    assert any({(10, 90), (90, 10)} <= batch for batch in batches)


class Counted(Dataset[Any]):
    """Records which samples are read."""

    def __init__(self, make: Callable[[int], Any], num_samples: int = 500) -> None:
        self.make = make
        self.num_samples = num_samples
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> Any:
        self.read.append(index)
        return self.make(index)


def test_each_sample_is_read_once() -> None:
    data = Counted(lambda index: [1] * index)
    ranking_of(data, collate=collated)
    assert sorted(data.read) == list(range(500))


@pytest.mark.parametrize(
    "make",
    [
        lambda index: {"pixels": torch.rand(3, 8, 8), "label": index % 10},
        lambda index: torch.rand(3, 8, 8),
    ],
)
def test_samples_that_are_stacked_as_they_are_need_a_few_looks(make: Callable[[int], Any]) -> None:
    data = Counted(make)
    found = ranking_of(Subset(ConcatDataset([data, data]), range(100, 900)))
    assert len(data.read) <= NUM_PILOT_SAMPLES + 3  # and those that show whether the set can be held as tensors
    assert (found.orders, found.coverage.num_samples) == ((), 800)


def test_slow_data_sets_are_measured_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Counted(lambda index: [1] * (index + 1))
    (found,) = rank_samples(Task(model=lambda: nn.Linear(1, 1), train=data, collate=collated), seed=0, max_seconds=0.0)
    assert found.coverage.num_measured == len(data.read) == NUM_PILOT_SAMPLES
    assert max(data.read) > 400, "samples are drawn from all of the data set"
    assert found.largest(1)[0].tolist() == [max(data.read)]
    assert len(found.largest(1000)[0]) == 1000


def test_many_integers_in_memory_are_looked_through_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_samples, "MAX_ELEMENTS", 1000)
    ids = (torch.arange(30)[None] < (torch.arange(300)[:, None] % 30 + 1)).long()
    found = ranking_of((ids, torch.zeros(300)))
    assert found.coverage.num_measured == 30
    assert ids[found.largest(1)[0]].sum() == ids[::10].sum(1).max()


def test_a_sample_that_cannot_be_read_is_named() -> None:
    def broken(index: int) -> Any:
        if index == 77:
            raise KeyError("image_77")
        return [1] * index

    with pytest.raises(UserCodeError, match=r"Sample 77 of Counted cannot be read: KeyError: 'image_77'") as caught:
        ranking_of(Counted(broken), collate=collated)
    assert "in broken" in caught.value.traceback


def test_looking_for_sizes_draws_nothing_from_the_callers_generators() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    ranking_of(Counted(lambda index: torch.rand(index % 5 + 1)), collate=collated)
    assert torch.equal(torch.rand(2), expected)


def test_both_parts_are_ranked() -> None:
    def part(lengths: Sequence[int]) -> list[list[int]]:
        return [[1] * length for length in lengths]

    task = Task(model=lambda: nn.Linear(1, 1), train=part([1, 2, 3]), val=part([9, 5]), collate=collated)
    train, val = rank_samples(task, seed=0)
    assert [ranking.coverage.split for ranking in (train, val)] == ["train", "val"]
    assert [ranking.largest(1)[0].tolist() for ranking in (train, val)] == [[2], [0]]
    assert train.coverage.ranked_by[0] == TOTAL


def test_batches_for_traces_are_of_the_costliest_samples_and_repeat_few() -> None:
    def pad(samples: list[Any]) -> Any:
        return nn.utils.rnn.pad_sequence([torch.tensor(sample) for sample in samples], batch_first=True)

    task = Task(model=lambda: nn.Linear(1, 1), train=[[1] * length for length in (2, 7, 5)], collate=pad)
    ranking = rank_samples(task, seed=0)[0]
    batches = {size: load_batch(task, task.train, ranking.largest(size)[0]) for size in (1, 2, 8)}
    assert {size: tuple(batch.content.shape) for size, batch in batches.items()} == {1: (1, 7), 2: (2, 7), 8: (8, 7)}
    assert batches[2].content.sum() == 12


def test_samples_are_read_once_for_several_ways_to_train_them() -> None:
    reads: list[int] = []

    class Counted(Dataset[Any]):
        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> list[int]:
            reads.append(index)
            return [1] * (index + 1)

    def pad(samples: list[Any]) -> Any:
        return nn.utils.rnn.pad_sequence([torch.tensor(sample) for sample in samples], batch_first=True)

    task = Task(model=lambda: nn.Linear(1, 1), train=Counted(), collate=pad)
    (first,), (again,) = rank_samples(task, seed=0), rank_samples(replace(task, optimizer="sgd"), seed=0)
    assert sorted(reads) == list(range(20))
    assert again is first
