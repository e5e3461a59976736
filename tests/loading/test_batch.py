"""What a batch may be: every kind of content is moved, counted and split by one rule."""

from __future__ import annotations

from collections import OrderedDict, UserDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from probe.device.cpu import CpuDevice
from probe.device.simulated import SimulatedDevice
from probe.errors import TaskError
from probe.loading.batch import Batch
from probe.loading.epoch_batches import make_batches
from probe.loading.trees import num_bytes, tensors_of
from probe.lr.measure import run_range_test
from probe.task import Task
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings

Pair = namedtuple("Pair", ["left", "right"])
ROWS = torch.arange(12.0).reshape(6, 2)


class Graph:
    """Moves its tensors in place and returns itself, as PyTorch Geometric's graphs do."""

    def __init__(self, nodes: Tensor, num_graphs: int) -> None:
        self.nodes = nodes
        self.num_graphs = num_graphs

    def to(self, device: Any, non_blocking: bool = False) -> Graph:
        self.nodes = self.nodes.to(device, non_blocking=non_blocking)
        return self


class Encoding(UserDict[str, Any]):
    """A mapping that moves itself, as the BatchEncoding of transformers does."""

    def to(self, device: Any) -> Encoding:
        self.data = {name: tensor.to(device=device) for name, tensor in self.data.items()}
        return self


@dataclass(frozen=True)
class Sample:
    inputs: Tensor
    name: str


class Hidden:
    def __init__(self) -> None:
        self.inputs = ROWS


CONTENTS: dict[str, Callable[[], Any]] = {
    "tensor": lambda: ROWS,
    "tuple": lambda: (ROWS, 1, "text", None),
    "list": lambda: [ROWS],
    "dict": lambda: {"inputs": ROWS},
    "ordered dict": lambda: OrderedDict(inputs=ROWS),
    "named tuple": lambda: Pair(ROWS, None),
    "dataclass": lambda: Sample(ROWS, "first"),
    "graph": lambda: Graph(ROWS, 3),
    "encoding": lambda: Encoding(inputs=ROWS),
    "nested": lambda: {"graphs": [Graph(ROWS, 3)], "pair": Pair(None, 2)},
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_every_kind_of_content_is_copied_and_keeps_its_type(kind: str) -> None:
    content = CONTENTS[kind]()
    moved = Batch(content, 6).to(torch.device("cpu"), copy=True)
    assert moved.num_samples == 6
    assert type(moved.content) is type(content)
    (before,), (after,) = tensors_of(content), tensors_of(moved.content)
    assert torch.equal(before, after)
    assert before.data_ptr() == ROWS.data_ptr() != after.data_ptr()
    assert moved.num_bytes == num_bytes(content) == ROWS.nbytes


def test_packed_sequences_keep_their_order() -> None:
    packed = pack_sequence([torch.arange(3.0), torch.arange(2.0)])
    moved = Batch(packed, 2).to(torch.device("cpu"), copy=True).content
    assert isinstance(moved, PackedSequence)
    assert torch.equal(moved.data, packed.data)
    assert torch.equal(moved.batch_sizes, packed.batch_sizes)


def test_an_object_that_hides_its_tensors_is_refused_by_name() -> None:
    with pytest.raises(TaskError, match="Hidden holds tensors") as caught:
        Batch((Hidden(), ROWS), 6).to(torch.device("cpu"))
    assert "to(device)" in str(caught.value.hint)


class Detection(torch.utils.data.Dataset[Any]):
    """Images of several sizes and their boxes."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.full((3, 4 + index, 4), float(index)), {"boxes": torch.zeros(index, 4)}


def detection_task(collate: Callable[[list[Any]], Any]) -> Task:
    def forward(model: nn.Module, batch: Any) -> tuple[Tensor, None]:
        images, boxes = batch
        assert len(images) == len(boxes)
        return torch.stack([model(image.mean((1, 2))).mean() for image in images]).mean(), None

    return Task(model=lambda: nn.Linear(3, 1), train=Detection(), collate=collate, forward=forward)


@pytest.mark.parametrize("kind", [tuple, list])
def test_samples_are_counted_where_they_are_collated(kind: type) -> None:
    task = detection_task(lambda samples: (kind(image for image, _ in samples), [boxes for _, boxes in samples]))
    batches = make_batches(task, task.train, batch_size=4, device=SimulatedDevice(2**20), seed=0, shuffle=False)
    assert [batch.num_samples for batch in batches.epoch(0)] == [4, 4, 2]
    run = TrainingRun(task, TrainerSettings(gradient_accumulation=2), device=SimulatedDevice(2**20), seed=0)
    assert run.train_epoch() is not None


def graph_task() -> Task:
    """Graphs of 100 nodes: nothing of a batch's shapes tells how many there are."""

    def forward(model: nn.Module, graph: Graph) -> tuple[Tensor, None]:
        return model(graph.nodes).mean(), None

    def collate(samples: list[Tensor]) -> Graph:
        return Graph(torch.cat(samples), len(samples))

    return Task(model=lambda: nn.Linear(8, 1), train=[torch.ones(100, 8)] * 16, forward=forward, collate=collate)


def test_a_graph_counts_as_memory_of_the_simulated_device() -> None:
    device = SimulatedDevice(2**20)
    task = graph_task()
    with device.track():
        run = TrainingRun(task, TrainerSettings(batch_size=16), device=device, seed=0)
        run.train_epoch()
    assert device.read_memory().peak_allocated_bytes > 16 * 100 * 8 * 4


def test_a_graph_cannot_be_split() -> None:
    run = TrainingRun(graph_task(), TrainerSettings(gradient_accumulation=2), device=SimulatedDevice(2**20), seed=0)
    with pytest.raises(TaskError, match=r"16 samples .*a Graph"):
        run.train_epoch()


def encoding_task() -> Task:
    """As a tokenizer's batches and transformers' models are used."""

    def forward(model: nn.Module, batch: Encoding) -> tuple[Tensor, Tensor]:
        outputs = model(batch["inputs"])
        return nn.functional.cross_entropy(outputs, batch["labels"]), outputs

    def collate(samples: list[Any]) -> Encoding:
        return Encoding(inputs=torch.stack(samples), labels=torch.zeros(len(samples), dtype=torch.long))

    return Task(model=lambda: nn.Linear(4, 2), train=[torch.randn(4)] * 20, forward=forward, collate=collate)


@pytest.mark.parametrize("make", [graph_task, encoding_task])
def test_range_tests_training_and_evaluation_take_what_moves_itself(make: Callable[[], Task]) -> None:
    task = make()
    metrics = {"size": lambda outputs, targets: len(targets["labels"])} if make is encoding_task else {}
    task = replace(task, val=task.train, metrics=metrics)
    run = TrainingRun(task, TrainerSettings(batch_size=6), device=SimulatedDevice(2**20), seed=0)
    curve = run_range_test(run, lowest_lr=1e-5, highest_lr=1e-2, num_steps=8, seed=0)
    assert len(curve.points) == 8
    report = run.run_epoch()
    assert report is not None
    assert report.metrics == ({"size": 20.0} if metrics else {})


def test_a_mapping_that_moves_itself_is_split_for_gradient_gradient_accumulation() -> None:
    first, second = Batch(Encoding(inputs=ROWS, labels=ROWS[:, 0]), 6).split([0, 4, 6])
    assert type(first.content) is Encoding
    assert torch.equal(second.content["labels"], ROWS[4:, 0])
    run = TrainingRun(encoding_task(), TrainerSettings(gradient_accumulation=2), device=SimulatedDevice(2**20), seed=0)
    assert run.train_epoch() is not None


def first_batch(task: Task) -> Any:
    batches = make_batches(task, task.train, batch_size=4, device=SimulatedDevice(2**20), seed=0, shuffle=False)
    return next(iter(batches.epoch(0)))


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ([Graph(ROWS, 1)] * 4, "found <class 'test_batch.Graph'>"),
        ([torch.zeros(2), torch.zeros(3)] * 2, "equal size"),
        ([[1, 2], [1]] * 2, "equal size"),
    ],
)
def test_samples_that_need_a_collate_function_are_refused(samples: Any, words: str) -> None:
    with pytest.raises(TaskError, match=f"4 samples cannot .*{words}") as caught:
        first_batch(Task(model=lambda: nn.Linear(2, 1), train=samples))
    assert "collate" in str(caught.value.hint)


@pytest.mark.parametrize("returned", [None, [], "text"])
def test_a_collate_function_that_returns_no_batch_is_refused(returned: Any) -> None:
    with pytest.raises(TaskError, match=r"Task.collate must return a batch"):
        first_batch(Task(model=lambda: nn.Linear(2, 1), train=[ROWS] * 4, collate=lambda samples: returned))


@pytest.mark.parametrize("sample", [ROWS[0], {"x": ROWS[0]}])
def test_batches_that_are_no_tuples_need_a_forward(sample: Any) -> None:
    run = TrainingRun(
        Task(model=lambda: nn.Linear(2, 1), train=[sample] * 8), TrainerSettings(), device=CpuDevice(), seed=0
    )
    with pytest.raises(TaskError, match=rf"must be a tuple .*{type(sample).__name__}") as caught:
        run.train_epoch()
    assert "forward" in str(caught.value.hint)


@pytest.mark.parametrize(
    "content",
    [
        ROWS,
        (ROWS, ROWS),
        [ROWS, {"mask": ROWS}],
        Sample(ROWS, "first"),
        {"images": [torch.ones(3, size) for size in range(6)], "names": list("abcdef")},
        ([torch.ones(3, size) for size in range(6)], ROWS),
    ],
)
def test_micro_batches_hold_every_sample_once(content: Any) -> None:
    parts = list(Batch(content, 6).split([0, 1, 4, 6]))
    assert [part.num_samples for part in parts] == [1, 3, 2]
    assert sum(part.num_bytes for part in parts) == num_bytes(content)
    assert all(type(part.content) is type(content) for part in parts)


def test_as_many_parts_as_samples_are_no_samples() -> None:
    """(inputs, targets) of two samples is split along the tensors, whether or not these are lists."""
    for content in ((ROWS[:2], ROWS[:2]), ([torch.ones(3), torch.ones(4)], [1, 2])):
        first, second = Batch(content, 2).split([0, 1, 2])
        assert len(first.content) == len(second.content) == 2
        assert len(first.content[0]) == len(second.content[1]) == 1
