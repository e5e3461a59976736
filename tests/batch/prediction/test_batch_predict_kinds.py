"""Predictions for tasks whose memory is not linear in the batch size, compared with the simulated device."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from measured_memory import measured_peak
from torch import Tensor, nn

from probe.batch.find import try_batch_size
from probe.batch.prediction.build_memory_model import build_memory_model
from probe.batch.prediction.fake_operators import lstm_workspace_bytes
from probe.batch.prediction.memory_model import MemoryModel, Untraceable
from probe.batch.prediction.predict import TargetGpus, predict_batch_sizes
from probe.batch.prediction.trace import MAX_READ_BYTES
from probe.batch.prediction.tracer import TracedBatches, UnstretchableError, stretched
from probe.batch.task_samples import rank_samples
from probe.loading.batch import Batch
from probe.task import Task


def _kinds() -> Any:
    path = Path(__file__).parents[3] / "benchmarks" / "prediction_kinds.py"
    spec = importlib.util.spec_from_file_location("prediction_kinds", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["prediction_kinds"] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


KINDS = _kinds()


def predicted(task: Task, limit_bytes: int, **params: Any) -> tuple[MemoryModel, Any]:
    gpus = TargetGpus(memory_bytes=(limit_bytes,))
    model = build_memory_model(task, params=params, target="simulated", gpus=gpus, in_process=True)
    assert isinstance(model, MemoryModel), model
    return model, predict_batch_sizes(model, gpus)


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # PyTorch has another implementation of them
@pytest.mark.parametrize("kind", [kind for kind in KINDS.KINDS if not kind.is_bound], ids=lambda kind: kind.name)
def test_the_answer_is_what_the_device_measures(kind: Any) -> None:
    limit_bytes = measured_peak(kind.make(), kind.batch_size)
    _, (expected, (found,)) = predicted(kind.make(), limit_bytes)
    assert (found.largest_fit, found.peak_bytes, found.is_traced) == (kind.batch_size, limit_bytes, True)
    assert expected.checks


@pytest.mark.parametrize("kind", [kind for kind in KINDS.KINDS if kind.is_bound], ids=lambda kind: kind.name)
def test_what_the_weights_decide_is_bounded(kind: Any) -> None:
    model, (expected, _) = predicted(kind.make(), 2**40)
    assert any("depends on computed values" in text for text in expected.unseen)
    for size in (8, 64):
        assert measured_peak(kind.make(), size) <= model.live_peak_bytes(size)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_an_lstm_in_every_precision(precision: str) -> None:
    limit_bytes = measured_peak(KINDS.recurrent(nn.LSTM), 32, precision=precision)
    _, (_, (found,)) = predicted(KINDS.recurrent(nn.LSTM), limit_bytes, precision=precision)
    assert (found.largest_fit, found.peak_bytes) == (32, limit_bytes)


@given(
    st.integers(1, 12),
    st.integers(1, 140),
    st.sampled_from([1, 7, 64, 256]),
    st.sampled_from([1, 24, 33, 64, 128, 300]),
)
@settings(max_examples=30)
def test_the_workspace_of_an_lstm_is_what_onednn_asks_for(steps: int, samples: int, inputs: int, hidden: int) -> None:
    state = torch.zeros(samples, hidden)
    *_, workspace = torch.ops.aten.mkldnn_rnn_layer(
        torch.zeros(steps, samples, inputs), torch.zeros(4 * hidden, inputs), torch.zeros(4 * hidden, hidden),
        torch.zeros(4 * hidden), torch.zeros(4 * hidden), state, state, False, [], 2, hidden, 1, True, False, False, True,
    )  # fmt: skip
    assert lstm_workspace_bytes(steps, samples, input_size=inputs, hidden_size=hidden, itemsize=4) == workspace.numel()


def test_recurrent_layers_of_a_gpu_are_listed_as_unseen() -> None:
    found = build_memory_model(KINDS.recurrent(nn.GRU), in_process=True)
    assert isinstance(found, MemoryModel)
    assert any("recurrent layers" in text and "cuDNN" in text for text in found.unseen)


def test_one_trace_checks_a_prediction_that_is_right() -> None:
    _, (expected, (found,)) = predicted(KINDS.recurrent(nn.GRU), 10**6)
    assert [(check.batch_size, check.agrees) for check in expected.checks] == [(found.largest_fit, True)]


def test_where_a_trace_is_a_surprise_the_next_size_is_traced_as_well() -> None:
    task = KINDS.pairs(KINDS.triplets)
    model, (expected, (found,)) = predicted(task, measured_peak(task, 32))
    assert found.largest_fit == 32
    assert max(abs(check.error) for check in expected.checks) > 0.5
    assert model.is_traced(64)
    assert model.live_peak_bytes(64) == measured_peak(task, 64)


def test_the_size_for_each_gpu_is_traced_if_memory_is_not_linear() -> None:
    task = KINDS.pairs(KINDS.triplets)
    limits = tuple(measured_peak(task, size) for size in (16, 32, 64))
    gpus = TargetGpus(memory_bytes=limits)
    model = build_memory_model(task, target="simulated", gpus=gpus, in_process=True)
    found = predict_batch_sizes(model, gpus)[1]
    assert [(one.largest_fit, one.is_traced, one.peak_bytes) for one in found] == [
        (size, True, limit) for size, limit in zip((16, 32, 64), limits, strict=True)
    ]


@pytest.mark.parametrize("num_val", [5, 200])
def test_a_validation_part_with_larger_samples_decides(num_val: int) -> None:
    """An attempt validates the largest validation samples, and so does the prediction."""
    train = torch.zeros(64, 3, 8, 8), torch.zeros(64, dtype=torch.int64)
    val = torch.zeros(num_val, 3, 64, 64), torch.zeros(num_val, dtype=torch.int64)

    def model() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
        )

    task = Task(model=model, train=train, val=val)
    memory, _ = predicted(task, 2**23)
    for size in (8, 32):
        found = try_batch_size(task, size, device="simulated:1GiB", in_process=True)
        assert found.memory is not None
        assert memory.live_peak_bytes(size) == pytest.approx(found.memory.peak_allocated_bytes, rel=1e-3)


def test_values_that_only_the_model_knows_leave_no_prediction() -> None:
    def looks(layers: Any, inputs: Tensor) -> Tensor:
        outputs = layers.head(layers.first(inputs))
        return torch.as_tensor(outputs if outputs.mean() > 0 else -outputs)

    found = build_memory_model(KINDS.on_layers(looks), in_process=True)
    assert isinstance(found, Untraceable)
    assert "test_batch_predict_kinds.py, line" in found.reason


def test_a_step_that_depends_on_values_is_listed_as_unseen() -> None:
    def looks(layers: Any, inputs: Tensor) -> Tensor:
        return torch.as_tensor(layers.head(layers.first(inputs if inputs.mean() > 9 else -inputs)))

    model, (_, (found,)) = predicted(KINDS.on_layers(looks), measured_peak(KINDS.on_layers(looks), 32))
    assert found.largest_fit == 32
    assert any("depends on values of the data" in text for text in model.unseen)


def test_a_step_of_too_many_operators_is_not_traced_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probe.batch.prediction.recorder.MAX_OPERATORS", 3000)
    model, _ = predicted(KINDS.on_layers(KINDS.one_by_one), 2**40)
    assert any("takes too long to trace" in text for text in model.unseen)
    assert not model.is_traced(64)
    assert model.live_peak_bytes(64) == pytest.approx(measured_peak(KINDS.on_layers(KINDS.one_by_one), 64), rel=0.25)


def test_batches_are_stretched_as_they_grow() -> None:
    class Wide:
        """More of these than are read."""

        unbounded = True

        def __len__(self) -> int:
            return 10**6

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.zeros(2**16), index % 10

    task = Task(model=nn.Identity, train=Wide())
    batches = TracedBatches(task, task.train, rank_samples(task, seed=0)[0])
    numbers, targets = batches.of(2**18).content
    assert (tuple(numbers.shape), numbers.is_meta) == ((2**18, 2**16), True)
    assert (tuple(targets.shape), targets.is_meta) == ((2**18,), False)
    assert numbers.numel() * 4 > MAX_READ_BYTES
    assert int(targets[-1]) == (2**18 - 1) % 128 % 10  # the values of the largest batch that is read, again and again


def test_a_batch_may_be_any_nest_of_tensors() -> None:
    half, whole = (
        Batch({"x": torch.arange(n), "boxes": [torch.ones(3)] * n, "count": n, "name": "a"}, n) for n in (2, 4)
    )
    found = stretched(half, whole, 7).content
    assert found["x"].tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert (len(found["boxes"]), found["count"], found["name"]) == (7, 7, "a")


class Graph:
    def __init__(self, nodes: Tensor) -> None:
        self.nodes = nodes

    def to(self, device: Any) -> Graph:
        return Graph(self.nodes.to(device))


def test_objects_that_move_themselves_are_stretched_by_their_tensors() -> None:
    found = stretched(Batch(Graph(torch.ones(6, 2)), 2), Batch(Graph(torch.ones(12, 2)), 4), 8).content
    assert isinstance(found, Graph)
    assert found.nodes.shape == (24, 2)
    with pytest.raises(UnstretchableError, match="object"):
        stretched(Batch(object(), 2), Batch(object(), 4), 8)
