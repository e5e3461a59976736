"""The training step against the same thing written by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from made_tasks import made_data, made_task
from torch import nn

from probe.device.cpu import CpuDevice
from probe.errors import TaskError, UsageError
from probe.loading.batch import Batch
from probe.training.optimizer_names import OPTIMIZER_NAMES, hyperparameters_of
from probe.training.optimizers import make_optimizer
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings


def plain_net() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def run_of(**settings: Any) -> TrainingRun:
    return TrainingRun(
        made_task(model=plain_net), TrainerSettings(**({"batch_size": 24} | settings)), device=CpuDevice(), seed=1
    )


def gradients(run: TrainingRun) -> list[torch.Tensor]:
    return [weight.grad.clone() for weight in run.model.parameters() if weight.grad is not None]


def test_the_step_is_the_hand_written_one() -> None:
    run, by_hand = run_of(optimizer="adamw", lr=0.01), run_of(optimizer="adamw", lr=0.01)
    for batch, _ in zip(run.batches(), range(5), strict=False):
        loss = run.train_step(batch)
        by_hand.optimizer.zero_grad()
        expected = nn.functional.cross_entropy(by_hand.model(batch.content[0]), batch.content[1])
        expected.backward()  # type: ignore[no-untyped-call]  # unannotated in torch
        by_hand.optimizer.step()
        assert torch.equal(loss, expected.detach())
    assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), by_hand.model.parameters(), strict=True))


@pytest.mark.parametrize("parts", [2, 3, 5, 24])
def test_gradient_accumulation_gives_the_gradient_of_the_whole_batch(parts: int) -> None:
    whole, split = run_of(), run_of(gradient_accumulation=parts)
    batch = next(iter(whole.batches()))
    losses = whole.train_step(batch), split.train_step(batch)
    torch.testing.assert_close(losses[0], losses[1])
    for a, b in zip(gradients(whole), gradients(split), strict=True):
        torch.testing.assert_close(a, b)


class BatchSizes(nn.Module):
    """Notes how many samples each forward pass has."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
        self.seen: list[int] = []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(inputs))
        outputs: torch.Tensor = self.net(inputs)
        return outputs


def test_an_epochs_last_batch_is_accumulated_in_parts_that_batch_normalization_can_take() -> None:
    data = made_data(27)
    task = made_task(model=BatchSizes, train=data)
    run = TrainingRun(task, TrainerSettings(batch_size=24, gradient_accumulation=8), device=CpuDevice(), seed=1)
    assert run.train_epoch() is not None
    assert isinstance(run.model, BatchSizes)
    assert run.model.seen == [3] * 8 + [3]


def test_coupled_penalties_are_the_derivative_of_the_penalized_loss() -> None:
    run, by_hand = run_of(l1=0.03, l2=0.2), run_of()
    batch = next(iter(run.batches()))
    run.train_step(batch)
    loss = nn.functional.cross_entropy(by_hand.model(batch.content[0]), batch.content[1])
    for weight in by_hand.model.parameters():
        if weight.dim() > 1:
            loss = loss + 0.03 * weight.abs().sum() + 0.2 * weight.square().sum()
    loss.backward()  # type: ignore[no-untyped-call]  # unannotated in torch
    for a, b in zip(gradients(run), gradients(by_hand), strict=True):
        torch.testing.assert_close(a, b)


def test_decoupled_penalties_shrink_and_make_exact_zeros() -> None:
    run, plain = run_of(l1=0.5, l2=0.1, decoupled=True, lr=0.1, optimizer="sgd"), run_of(lr=0.1, optimizer="sgd")
    batch = next(iter(run.batches()))
    run.train_step(batch)
    plain.train_step(batch)
    weight, before = run.model[0].weight, plain.model[0].weight  # type: ignore[index]  # a Sequential
    torch.testing.assert_close(weight, nn.functional.softshrink(before * (1 - 2 * 0.1 * 0.1), 0.1 * 0.5))
    assert (weight == 0).any()
    assert torch.equal(run.model[0].bias, plain.model[0].bias)  # type: ignore[index]  # a Sequential


def test_clipping_bounds_the_gradient() -> None:
    run = run_of(max_grad_norm=1e-3)
    run.train_step(next(iter(run.batches())))
    assert torch.linalg.vector_norm(torch.cat([g.flatten() for g in gradients(run)])).item() <= 1e-3 * 1.001


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_every_precision_trains(precision: str) -> None:
    run = run_of(precision=precision, lr=0.05)
    losses = [run.train_step(batch).item() for batch, _ in zip(run.batches(), range(60), strict=False)]
    assert sum(losses[-5:]) < sum(losses[:5])
    assert all(weight.dtype == torch.float32 for weight in run.model.parameters())


@pytest.mark.parametrize("is_newer", [True, False])
def test_tf32_is_set_by_the_switch_that_the_program_uses(is_newer: bool) -> None:
    """PyTorch refuses the older switch beside the newer ones, so one process tries each."""
    script = f"""
import torch
from probe.training.step import matmul_precision
if {is_newer}:
    torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision = "ieee"
before = torch.backends.cuda.matmul.fp32_precision
with matmul_precision("tf32"):
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"
assert torch.backends.cuda.matmul.fp32_precision in (before, "ieee")
with matmul_precision("fp32"):
    pass
"""
    subprocess.run(
        [sys.executable, "-c", script], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )


@pytest.mark.parametrize("name", OPTIMIZER_NAMES)
def test_every_optimizer_lowers_the_loss(name: str) -> None:
    given = {option: True if option == "fused" else 0.01 for option in hyperparameters_of(name)}
    run = run_of(optimizer=name, lr=0.02, **given)
    losses = [run.train_step(batch).item() for batch, _ in zip(run.batches(), range(60), strict=False)]
    assert sum(losses[-5:]) < sum(losses[:5])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adm"}, "Unknown optimizer 'adm'"),
        ({"optimizer": "adam", "momentum": 0.9}, "adam .*momentum"),
        (
            {"optimizer": torch.optim.Adam, "momentum": 0.1},
            "momentum .*callable Adam",
        ),
        ({"lr": 0.0}, "lr must be a number above 0"),
        ({"lr": float("nan")}, "lr must be"),
        ({"precision": "fp8"}, "Unknown precision"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"batch_size": 4, "gradient_accumulation": 8}, "cannot be split"),
        ({"momentum": 1.0}, "momentum must be a number from 0 to below 1"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_optimizer(plain_net().parameters(), TrainerSettings(**settings))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda params, lr: torch.optim.LBFGS(params, lr=lr), "LBFGS"),
        (lambda params, lr: "adam", r"must return a torch\.optim\.Optimizer"),
    ],
)
def test_optimizers_that_cannot_be_driven(make: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        make_optimizer(plain_net().parameters(), TrainerSettings(optimizer=make))


def test_gradient_accumulation_refuses_what_it_cannot_split() -> None:
    inputs, _ = made_data()
    task = made_task(
        model=plain_net, forward=lambda model, batch: (model(batch["x"]).square().mean() * batch["scale"], None)
    )
    run = TrainingRun(task, TrainerSettings(gradient_accumulation=2), device=CpuDevice(), seed=0)
    with pytest.raises(TaskError, match="cannot be split"):
        run.train_step(Batch({"x": inputs, "scale": torch.tensor(2.0)}, len(inputs)))
