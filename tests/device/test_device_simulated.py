"""The simulated device counts exactly what operators allocate, in every part of a training step."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from probe.device.simulated import SimulatedDevice


def live_bytes(device: SimulatedDevice) -> int:
    device.reset_peaks()
    return device.read_memory().peak_allocated_bytes


@pytest.fixture
def device() -> SimulatedDevice:
    return SimulatedDevice(10**8)


def test_a_storage_counts_until_its_last_view_is_gone(device: SimulatedDevice) -> None:
    with device.track():
        tensor = torch.zeros(1000)
        view = tensor.view(10, 100)[3:]
        del tensor
        assert live_bytes(device) == 4000
        del view
        assert live_bytes(device) == 0


def test_what_was_allocated_before_does_not_count_whatever_is_done_to_it(device: SimulatedDevice) -> None:
    given = torch.zeros(1000)
    with device.track():
        views = [given[2:], given.view(10, 100), given.add_(1), given.detach()]
        assert live_bytes(device) == 0
        copy = given + 1
        assert live_bytes(device) == 4000
    del views, copy


def test_what_is_allocated_inside_and_freed_outside_is_freed(device: SimulatedDevice) -> None:
    with device.track():
        tensor = torch.zeros(1000)
    assert live_bytes(device) == 4000
    del tensor
    assert live_bytes(device) == 0


def test_a_resized_storage_counts_its_new_size(device: SimulatedDevice) -> None:
    with device.track():
        tensor = torch.empty(10)
        tensor.resize_(1000)
        assert live_bytes(device) == 4000


def test_constants_made_from_numbers_count(device: SimulatedDevice) -> None:
    with device.track():
        constant = torch.tensor([1.0] * 100)
        assert live_bytes(device) == 400
    del constant


def test_several_results_of_one_operator_count_each(device: SimulatedDevice) -> None:
    with device.track():
        values, indices = torch.rand(100).sort()
        chunks = values.chunk(4)  # views
        sums = torch._foreach_add(list(chunks), 1.0)
        assert live_bytes(device) == 400 + 800 + 400
    del values, indices, chunks, sums


@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": True}, {"foreach": False}], ids=str)
def test_a_training_step_leaves_weights_gradients_and_optimizer_state(
    device: SimulatedDevice, options: dict[str, Any]
) -> None:
    with device.track():
        model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 8))
        optimizer = torch.optim.AdamW(model.parameters(), **options)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.rand(16, 32)).square().mean().backward()
            optimizer.step()
        gc.collect()
        num_bytes = sum(4 * weight.numel() for weight in model.parameters())
        num_step_counters = len(list(model.parameters()))
        assert live_bytes(device) == 4 * num_bytes + 4 * num_step_counters
        assert device.read_memory().peak_allocated_bytes < 8 * num_bytes


def train_step(device: SimulatedDevice) -> None:
    model = nn.Linear(100, 100)
    optimizer = torch.optim.AdamW(model.parameters(), foreach=True)
    with device.track():
        model(torch.rand(10, 100)).sum().backward()
        optimizer.step()


def forward(device: SimulatedDevice) -> None:
    with device.track(), torch.no_grad():
        nn.Linear(100, 100)(torch.rand(1000, 100))


def backward(device: SimulatedDevice) -> None:
    weight = torch.rand(20_000, requires_grad=True)
    loss = weight.square().sum()
    with device.track():
        torch.autograd.backward(loss)


@pytest.mark.parametrize("part", [forward, backward, train_step])
def test_the_limit_holds_in_forward_backward_and_optimizer(part: Callable[[SimulatedDevice], None]) -> None:
    device = SimulatedDevice(60_000)
    with pytest.raises(torch.OutOfMemoryError, match=r"tried to allocate .* in use of a limit of 58\.6 KiB"):
        part(device)


def test_tracking_inside_tracking_counts_once(device: SimulatedDevice) -> None:
    with device.track(), device.track():
        tensor = torch.zeros(1000)
        assert live_bytes(device) == 4000
    del tensor


def test_sparse_gradients_are_let_through(device: SimulatedDevice) -> None:
    with device.track():
        table = nn.Embedding(1000, 4, sparse=True)
        table(torch.tensor([1, 2, 3])).sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad.is_sparse


def test_counting_is_cheap(device: SimulatedDevice) -> None:
    tensor = torch.zeros(4)

    def seconds_per_operator() -> float:
        started = time.perf_counter()
        for _ in range(1000):
            tensor + 1
        return (time.perf_counter() - started) / 1000

    with device.track():
        assert min(seconds_per_operator() for _ in range(5)) < 200e-6
