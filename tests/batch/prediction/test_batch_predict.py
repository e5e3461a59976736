"""Predictions compared byte for byte with the memory that SimulatedDevice counts in real training."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from measured_memory import measured_peak
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from probe.batch.prediction.build_memory_model import build_memory_model
from probe.batch.prediction.memory_model import FixedCosts, MemoryModel, Untraceable
from probe.batch.prediction.predict import TargetGpus, predict_batch_sizes
from probe.batch.prediction_records import Prediction
from probe.errors import TaskError
from probe.models.registry import build_model
from probe.records_json import from_plain, to_plain
from probe.task import Task
from probe.tasks.source import NamedSource

GIB = 2**30


def vectors(model: Callable[[], nn.Module], *, num_samples: int = 100, width: int = 24, **options: Any) -> Task:
    data = (torch.randn(num_samples, width, generator=torch.Generator().manual_seed(0)), torch.arange(num_samples) % 10)
    return Task(model=model, train=data, **options)


def mlp(*extra: Callable[[], nn.Module], width: int = 24) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(width, 48), *(make() for make in extra), nn.Linear(48, 10))


def memory_model(task: Any, *, target: Any = "simulated", **params: Any) -> MemoryModel:
    found = build_memory_model(task, params=params, target=target, in_process=True)
    assert isinstance(found, MemoryModel), found
    return found


def assert_exact(task: Task, *batch_sizes: int, **params: Any) -> None:
    model = memory_model(task, **params)
    predicted = {size: model.live_peak_bytes(size) for size in batch_sizes}
    assert predicted == {size: measured_peak(task, size, **params) for size in batch_sizes}


@pytest.mark.parametrize(
    "params",
    [
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1},
        {"optimizer": "adamw", "max_grad_norm": 1.0, "lr_schedule": "cosine"},
        {"optimizer": "nadam", "l1": 0.1, "l2": 0.1},
        {"optimizer": "radam", "l1": 0.1, "l2": 0.1, "decoupled": True},
        {"optimizer": "rmsprop", "momentum": 0.5},
        {"optimizer": "adagrad"},
        {"precision": "bf16"},
    ],
    ids=str,
)
def test_every_way_to_train(params: dict[str, Any]) -> None:
    assert_exact(vectors(mlp(nn.ReLU, lambda: nn.BatchNorm1d(48))), 2, 7, 64, **params)


def test_half_precision_with_a_scaler() -> None:
    assert_exact(
        vectors(mlp(nn.ReLU)), 20, 64, precision="fp16", max_grad_norm=1.0
    )  # smaller ones overflow and skip steps


def images(*layers: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """The 24 numbers of a sample as 2 x 3 x 4, through `layers`, whose last one takes them flat."""
    return lambda: nn.Sequential(
        nn.Unflatten(1, (2, 3, 4)), *(make() for make in layers[:-1]), nn.Flatten(), layers[-1]()
    )


def convolution() -> nn.Module:
    return nn.Conv2d(2, 4, 3, padding=1)


def head() -> nn.Module:
    return nn.Linear(48, 10)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "dropout": mlp(nn.Tanh, nn.Dropout),
    "layer norm": mlp(nn.GELU, lambda: nn.LayerNorm(48)),
    "activations": mlp(lambda: nn.ReLU(inplace=True), nn.SiLU, nn.Softplus),
    "convolution": images(convolution, lambda: nn.BatchNorm2d(4), nn.ReLU, head),
    "one dimension": images(nn.Flatten, lambda: nn.Unflatten(1, (1, 24)), lambda: nn.Conv1d(1, 8, 3, stride=4), head),
    "pooling": images(
        lambda: nn.Conv2d(2, 12, 3, padding="same"), lambda: nn.MaxPool2d((1, 2)), lambda: nn.Linear(72, 10)
    ),
    "transposed": images(lambda: nn.ConvTranspose2d(2, 2, (2, 3)), lambda: nn.GroupNorm(2, 2), head),
    "channels last": lambda: images(convolution, lambda: nn.BatchNorm2d(4), nn.ReLU, head)().to(
        memory_format=torch.channels_last
    ),
}


@pytest.mark.parametrize("model", LAYERS.values(), ids=LAYERS)
def test_every_kind_of_layer(model: Callable[[], nn.Module]) -> None:
    assert_exact(vectors(model), 2, 9, 50)


def test_a_named_network() -> None:
    task = NamedSource(model="shufflenet_v2_x0_5", image_size=32).build({})
    assert_exact(task, 2, 11, optimizer="sgd", momentum=0.9)


class Attention(nn.Module):
    def __init__(self, *, dropout: float, recompute: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, dropout, batch_first=True) for _ in range(3))
        self.head = nn.Linear(8, 10)
        self.recompute = recompute

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = inputs.reshape(-1, 3, 8)
        for layer in self.layers:
            hidden = checkpoint(layer, hidden, use_reentrant=False) if self.recompute else layer(hidden)
        return torch.as_tensor(self.head(hidden.mean(1)))


@pytest.mark.parametrize("options", [{"dropout": 0.0}, {"dropout": 0.1}, {"dropout": 0.0, "recompute": True}], ids=str)
def test_attention_and_activation_checkpointing(options: dict[str, Any]) -> None:
    assert_exact(vectors(lambda: Attention(**options)), 3, 40)


def test_gradient_activation_checkpointing_is_seen() -> None:
    plain, recomputed = (
        memory_model(vectors(partial(Attention, dropout=0.0, recompute=recompute))) for recompute in (False, True)
    )
    assert recomputed.live_peak_bytes(4096) < 0.8 * plain.live_peak_bytes(4096)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("text-mlp", {"depth": 2, "width": 9, "dropout": 0.2}),
        ("text-mlp", {"width": 9, "bag": "counts"}),
        ("text-embedding", {"embedding": 6, "width": 9}),
        ("text-transformer", {"embedding": 8, "heads": 2, "dropout": 0.0}),
    ],
    ids=str,
)
def test_networks_for_texts(name: str, params: dict[str, Any]) -> None:
    tokens = torch.randint(0, 30, (60, 7), generator=torch.Generator().manual_seed(0))

    def model() -> nn.Module:
        return build_model(name, num_outputs=10, input_shape=(7,), vocabulary_size=30, params=params)

    task = Task(model=model, train=(tokens, torch.arange(60) % 10))
    memory = memory_model(task)
    for size in (2, 9, 50):  # what PyTorch's embedding bag notes of itself is a few bytes less on fakes
        assert 0 <= measured_peak(task, size) - memory.live_peak_bytes(size) <= 16


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.GRU(4, 16, batch_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.as_tensor(self.head(self.cells(inputs.reshape(-1, 6, 4))[0][:, -1]))


def test_recurrent_networks() -> None:
    assert_exact(vectors(Recurrent), 3, 40)


@pytest.mark.parametrize("gradient_accumulation", [2, 3, 5])
def test_gradient_accumulation(gradient_accumulation: int) -> None:
    task = vectors(mlp(nn.ReLU, nn.Dropout))
    assert_exact(task, 30, 60, 90, gradient_accumulation=gradient_accumulation)
    model = memory_model(task, gradient_accumulation=gradient_accumulation)
    for size in (1, 2, 7, 64):  # the last micro-batch is a smaller one, which the prediction does not make smaller
        measured = measured_peak(task, size, gradient_accumulation=gradient_accumulation)
        assert measured <= model.live_peak_bytes(size) <= 1.05 * measured


def test_a_batch_of_any_form_and_a_forward_of_ones_own() -> None:
    class Samples:
        def __len__(self) -> int:
            return 60

        def __getitem__(self, index: int) -> dict[str, Tensor]:
            return {"words": torch.full((3, 8), float(index)), "class": torch.tensor(index % 10)}

    def forward(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        outputs = model(batch["words"].flatten(1))
        return functional.cross_entropy(outputs, batch["class"], weight=torch.ones(10)), outputs

    task = Task(model=mlp(nn.ReLU), train=Samples(), forward=forward, collate=torch.utils.data.default_collate)
    assert_exact(task, 2, 32)


def test_samples_of_different_length() -> None:
    class Sentences:
        def __len__(self) -> int:
            return 40

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.arange(1 + index % 7), index % 10

    def collate(samples: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        words = nn.utils.rnn.pad_sequence([words for words, _ in samples], batch_first=True)
        return words, torch.tensor([label for _, label in samples])

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(7, 16)
            self.head = nn.Linear(16, 10)

        def forward(self, words: Tensor) -> Tensor:
            return torch.as_tensor(self.head(self.embedding(words).mean(1)))

    task = Task(model=Bag, train=Sentences(), collate=collate)
    model = memory_model(task)
    assert model.live_peak_bytes(5) == measured_peak(task, 5)  # the five longest sentences are alike


def test_what_grows_with_the_square_of_the_batch() -> None:
    def similarity(outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs @ outputs.T, torch.arange(len(outputs)))

    assert_exact(vectors(mlp(nn.ReLU), loss=similarity), 7, 80)


def test_a_data_set_smaller_than_the_traced_batches() -> None:
    assert_exact(vectors(mlp(), num_samples=5), 2, 5)


def test_a_model_that_only_real_tensors_can_make() -> None:
    def model() -> nn.Module:
        scale = float(torch.linspace(1, 2, 3)[1].item())
        first = nn.Linear(24, 48)
        made = nn.Sequential(first, nn.Dropout(scale / 2), nn.Linear(48, 10))
        with torch.no_grad():
            first.weight.copy_(torch.from_numpy(np.ones((48, 24), np.float32)))
        return made

    assert_exact(vectors(model), 2, 40)


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(24, 10)


def test_a_model_that_drops_samples_by_their_values() -> None:
    class Selects(Layer):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.as_tensor(self.layer(inputs[inputs[:, 0] > 0]))

    found = build_memory_model(vectors(Selects), in_process=True)
    assert isinstance(found, Untraceable)
    assert "to match target batch_size (4)" in found.reason  # as in training


def test_a_task_that_breaks_its_contract_says_so() -> None:
    with pytest.raises(TaskError, match="The loss must be a scalar tensor"):
        build_memory_model(vectors(mlp(), loss=lambda outputs, targets: outputs), in_process=True)


def test_a_gpu_works_on_all_weights_at_once() -> None:
    task = vectors(mlp(*[lambda: nn.Linear(48, 48)] * 5))
    on_gpu, simulated = (
        memory_model(task, target=target, optimizer="adamw", fused=False) for target in ("gpu", "simulated")
    )
    assert on_gpu.live_bytes_by_kind(2)["scratch"] > 1.5 * simulated.live_bytes_by_kind(2)["scratch"]
    assert on_gpu.dataset_bytes == 100 * 25 * 4 + 100 * 4
    assert simulated.dataset_bytes == 0


def test_the_parts_are_those_of_the_model() -> None:
    model = memory_model(vectors(mlp()), optimizer="adam", target="gpu")
    num_weights = sum(weight.numel() for weight in mlp()().parameters())
    parts = model.live_bytes_by_kind(1000)
    assert sum(parts.values()) == model.live_peak_bytes(1000)
    assert parts["weights"] == 4 * num_weights
    assert parts["optimizer_state"] == 8 * num_weights + 4 * 4  # a step count for each of four tensors
    assert parts["data"] == 1000 * (24 * 4 + 8)


def test_predictions_are_what_replays_say() -> None:
    model = pickle.loads(pickle.dumps(memory_model(NamedSource(model="resnet18", image_size=64), target="gpu")))
    gpus = (GIB // 2, GIB, 8 * GIB, 80 * GIB)
    expected, found = predict_batch_sizes(model, TargetGpus(memory_bytes=gpus))
    assert [one.memory_bytes for one in found] == list(gpus)
    assert found[0].largest_fit is None
    assert found[0].peak_bytes > GIB // 2
    for one in found[1:]:
        assert one.largest_fit is not None
        assert model.simulate(one.largest_fit, one.memory_bytes).outcome == "fits"
        assert model.simulate(one.largest_fit, one.memory_bytes).peak_bytes == one.peak_bytes
        assert model.simulate(2 * one.largest_fit, one.memory_bytes).outcome != "fits"
        assert one.allocated_bytes >= model.live_peak_bytes(one.largest_fit)
        assert from_plain(Prediction, to_plain(one)) == one
    assert [point.batch_size for point in expected.curve][-1] == 2 * (found[3].largest_fit or 0)
    assert found[1].largest_fit < found[2].largest_fit < found[3].largest_fit  # type: ignore[operator]  # checked above


def test_measured_costs_replace_the_assumed_ones() -> None:
    model = memory_model(vectors(mlp()), target="gpu")
    costs = FixedCosts(context_bytes=3 * GIB, cublas_bytes=1, cudnn_bytes=0)
    _, (found,) = predict_batch_sizes(model, TargetGpus(memory_bytes=(4 * GIB,), costs=costs))
    assert found.breakdown.context_bytes == 3 * GIB
    assert found.largest_fit is not None
    assert predict_batch_sizes(model, TargetGpus(memory_bytes=(3 * GIB,), costs=costs))[1][0].largest_fit is None


def test_tracing_leaves_this_process_as_it_was() -> None:
    task = vectors(mlp())
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    memory_model(task)
    assert torch.equal(torch.rand(2), expected)


def test_by_default_a_child_process_traces() -> None:
    found = build_memory_model(NamedSource(model="mlp", data="digits"), params={"optimizer": "sgd", "width": 16})
    assert isinstance(found, MemoryModel)
    assert found.live_bytes_by_kind(64)["weights"] == 4 * (64 * 16 + 16 + 16 * 16 + 16 + 16 * 10 + 10)


def kill_oneself() -> nn.Module:
    import os

    os.abort()


def test_a_crash_while_tracing_is_a_value() -> None:
    found = build_memory_model(vectors(kill_oneself))
    assert isinstance(found, Untraceable)
    assert "SIGABRT" in found.reason
