"""Activations computed again instead of kept: the same training with less memory."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from probe.batch.find import try_batch_size
from probe.batch.prediction.build_memory_model import build_memory_model
from probe.batch.prediction.memory_model import MemoryModel
from probe.errors import TaskError, UsageError
from probe.models.registry import build_model
from probe.task import Task
from probe.tasks.source import NamedSource
from probe.training.activation_checkpointing import blocks_to_recompute, recompute_activations
from probe.training.settings import TrainerSettings

FAMILIES = """
    alexnet convnext_tiny densenet121 efficientnet_b0 googlenet inception_v3 maxvit_t mnasnet0_5 mobilenet_v2 resnet18
    mobilenet_v3_small resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_0 swin_t swin_v2_t vgg11 vgg11_bn vit_b_32 mlp cnn
"""


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(0.3), nn.Linear(4 * width, width)
        )
        self.norm = nn.BatchNorm1d(width)

    def forward(self, inputs: Tensor, *, scale: float = 1.0) -> Tensor:
        return torch.as_tensor(self.norm(inputs + scale * self.layers(inputs)))


class Stacked(nn.Module):
    def __init__(self, depth: int = 4, width: int = 32) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Linear(width, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        for block in self.blocks:
            inputs = block(inputs, scale=0.5)
        return torch.as_tensor(self.head(inputs))


def chain() -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(32, 64)]
    for _ in range(6):
        layers += [nn.BatchNorm1d(64), nn.Hardswish(inplace=True), nn.Dropout(0.2), nn.Linear(64, 64)]
    return nn.Sequential(*layers, nn.Linear(64, 10))


def trained(model: nn.Module, *, steps: int = 3) -> tuple[list[Tensor], dict[str, Any]]:
    torch.manual_seed(1)
    inputs, targets = torch.randn(16, 32), torch.randint(10, (16,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), targets)
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.detach())
    return losses, model.state_dict()


@pytest.mark.parametrize("make", [Stacked, chain])
def test_training_is_the_same_bit_for_bit(make: Any) -> None:
    """With dropout, batch normalization's statistics and activations that work in place."""
    plain = make()
    recomputed = recompute_activations(copy.deepcopy(plain))
    losses, state = trained(plain)
    again, state_again = trained(recomputed)
    assert losses == again
    assert list(state) == list(state_again)
    assert all(torch.equal(state[name], state_again[name]) for name in state)
    plain.eval()
    recomputed.eval()
    inputs = torch.randn(4, 32)
    with torch.no_grad():
        assert torch.equal(plain(inputs), recomputed(inputs))


@pytest.mark.parametrize("name", FAMILIES.split())
def test_every_family_of_models_has_blocks_that_are_not_inside_another(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, num_outputs=10, input_shape=(3, 224, 224), params={})
    blocks, chains = blocks_to_recompute(model)
    pieces = [*blocks, *chains]
    assert pieces
    inside = {id(part) for piece in pieces for part in piece.modules() if part is not piece}
    assert not inside & {id(piece) for piece in pieces}


@pytest.mark.parametrize(
    ("name", "block", "num_blocks"),
    [("densenet121", "_DenseLayer", 6 + 12 + 24 + 16), ("regnet_x_400mf", "ResBottleneckBlock", 1 + 2 + 7 + 12)],
)
def test_stages_are_no_blocks_but_what_they_are_made_of(name: str, block: str, num_blocks: int) -> None:
    blocks, _ = blocks_to_recompute(build_model(name, num_outputs=10, input_shape=(3, 64, 64), params={}))
    assert [type(found).__name__ for found in blocks].count(block) == num_blocks


def test_a_block_in_several_places_is_one_block() -> None:
    block = Block(4)
    model = nn.ModuleDict({"there": nn.ModuleList([block, block]), "back": nn.ModuleList([block])})
    assert blocks_to_recompute(model) == ([block], [])


class Collected(Stacked):
    """Hands its blocks a list that grows, or changes in place what they have seen."""

    def __init__(self, *, scales_afterwards: bool = False) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Summing(32) for _ in range(3))
        self.scales_afterwards = scales_afterwards

    def forward(self, inputs: Tensor) -> Tensor:
        seen = [torch.as_tensor(self.head.weight.mean() + inputs)]
        for block in self.blocks:
            seen.append(block(seen=seen))
        if self.scales_afterwards:
            seen[0].mul_(2.0)
        return torch.as_tensor(self.head(seen[-1]))


class Summing(Block):
    def forward(self, *, seen: list[Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(torch.stack(seen).sum(0))


def test_a_list_that_grows_later_is_computed_from_as_it_was() -> None:
    plain = Collected()
    recomputed = recompute_activations(copy.deepcopy(plain))
    losses, state = trained(plain)
    again, state_again = trained(recomputed)
    assert losses == again
    assert all(torch.equal(state[name], state_again[name]) for name in state)


def test_inputs_that_were_changed_in_the_meantime_are_never_computed_from() -> None:
    plain = Collected(scales_afterwards=True)
    trained(copy.deepcopy(plain))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        trained(recompute_activations(plain))


@pytest.mark.parametrize("name", ["resnet18", "cnn"])
def test_the_memory_is_less_and_is_predicted(name: str) -> None:
    def profile(**params: Any) -> MemoryModel:
        found = build_memory_model(source, params={"optimizer": "sgd", **params}, target="simulated", in_process=True)
        assert isinstance(found, MemoryModel), found
        return found

    source = NamedSource(model=name, image_size=64)
    predicted = profile(activation_checkpointing=True).live_peak_bytes(6)
    assert predicted < profile().live_peak_bytes(6)
    measured = try_batch_size(
        source,
        6,
        params={"optimizer": "sgd", "activation_checkpointing": True},
        device="simulated:4GiB",
        in_process=True,
    ).memory
    assert measured is not None
    assert predicted == pytest.approx(measured.peak_allocated_bytes, rel=0.005)


def test_a_model_that_knows_how_is_asked() -> None:
    class Knowing(Stacked):
        asked = False

        def gradient_checkpointing_enable(self) -> None:
            self.asked = True

    model = Knowing()
    recompute_activations(model)
    assert model.asked
    assert "forward" not in vars(model.blocks[0])


def test_a_model_without_blocks_is_told_what_to_do() -> None:
    with pytest.raises(TaskError, match="LSTM has no blocks") as caught:
        recompute_activations(nn.LSTM(4, 8, num_layers=3))
    assert "torch.utils.checkpoint" in (caught.value.hint or "")


def test_a_block_that_changes_its_inputs_is_refused() -> None:
    model = nn.Sequential(
        nn.Linear(4, 4),
        nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 4)),
        nn.Sequential(nn.Linear(4, 4), nn.ReLU()),
    )
    recompute_activations(model)
    with pytest.raises(TaskError, match="changes its inputs in place"):
        model(torch.randn(2, 4))


def test_the_setting_is_a_yes_or_a_no() -> None:
    with pytest.raises(UsageError, match="checkpointing must be true or false, not 1"):
        TrainerSettings(activation_checkpointing=1)  # type: ignore[arg-type]  # what a recipe may hold


def test_a_task_is_trained_with_it() -> None:
    task = Task(model=Stacked, train=(torch.randn(64, 32), torch.zeros(64, dtype=torch.int64)))
    options: dict[str, Any] = {"device": "simulated:1GiB", "in_process": True}
    plain = try_batch_size(task, 64, **options).memory
    less = try_batch_size(task, 64, params={"activation_checkpointing": True}, **options).memory
    assert plain is not None
    assert less is not None
    assert less.peak_allocated_bytes < plain.peak_allocated_bytes
