"""Tasks for machines with fake GPUs, whose kernels do nothing: a loss is what the task copies to the GPU."""

from __future__ import annotations

import ctypes
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import probe

if TYPE_CHECKING:
    from fake_gpus import FakeMachine

ASSERT = 710
"""cudaErrorAssert."""
LOWEST_BAD_LR = 1.0


def set_sticky_error(error: int = ASSERT) -> None:
    ctypes.CDLL(None).fake_set_sticky_error(error)


def gpus_in_use() -> list[int]:
    """GPUs of this machine that this process has a context on, in the order in which the process sees them."""
    fake = ctypes.CDLL(None)
    return [index for index in range(torch.cuda.device_count()) if fake.fake_has_context(index)]


def _data(count: int = 128) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(count, 8), torch.randint(0, 3, (count,))


class _Linear(nn.Module):
    """A linear layer whose weights are a vector: those of matrices are counted, which takes kernels that do something."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(24))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight.view(8, 3)


class _Watched(nn.Module):
    """Uses "cuda" by name, and writes what its process sees to the file $SEEN."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = _Linear()
        self.register_buffer("ones", torch.ones(1, device="cuda"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with Path(os.environ["SEEN"]).open("a") as file:
            file.write(json.dumps([torch.cuda.device_count(), gpus_in_use()]) + "\n")
        out: torch.Tensor = self.layer(x) * self.ones.to("cuda")
        return out


def watched(which: int = 0) -> probe.Task:
    return probe.Task(
        model=_Watched, train=_data(), val=_data(32), metrics={"accuracy": "accuracy"}, optimizer="sgd", batch_size=32
    )


def watched_on(machine: FakeMachine, folder: Path) -> FakeMachine:
    """The machine, with a file in `folder` for what processes of `watched` see."""
    return replace(machine, env={**machine.env, "SEEN": str(folder / "seen")})


def seen_by(folder: Path) -> set[tuple[int, tuple[int, ...]]]:
    """What all processes of `watched` saw: the number of GPUs, and those that they have a context on."""
    lines = map(json.loads, (folder / "seen").read_text().splitlines())
    return {(count, tuple(in_use)) for count, in_use in lines}


def plain() -> probe.Task:
    return probe.Task(model=lambda: nn.Linear(8, 3), train=_data(), val=_data(32), optimizer="sgd", batch_size=32)


def large() -> probe.Task:
    """A gigabyte of weights."""
    return probe.Task(model=lambda: nn.Linear(8, 2**25), train=_data(), optimizer="sgd", loss=lambda out, y: out.mean())


class _Asserting(nn.Module):
    """A device-side assert in its first training step if `asserts`."""

    def __init__(self, asserts: bool) -> None:
        super().__init__()
        self.layer = _Linear()
        self.asserts = asserts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.asserts and self.training:
            set_sticky_error()
        out: torch.Tensor = self.layer(x)
        return out


def asserting(which: int = 1) -> probe.Task:
    return probe.Task(
        model=lambda: _Asserting(which == 1),
        train=_data(),
        val=_data(32),
        metrics={"accuracy": "accuracy"},
        optimizer="sgd",
        batch_size=32,
    )


class _Sgd(torch.optim.SGD):
    """A device-side assert in each update with LOWEST_BAD_LR or more. The GPU finds out after the update was queued."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # the closure is never used here
        super().step()
        _lrs[0] = self.param_groups[0]["lr"]
        if _lrs[0] >= LOWEST_BAD_LR:
            set_sticky_error()


_lrs = [0.0]
"""Learning rate of the last update."""


class _Given(torch.autograd.Function):
    """A loss with a given value."""

    @staticmethod
    def forward(ctx: Any, loss: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return value.to(loss.device)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grads[0], None


def _loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """2.0 up to a learning rate of 1e-3, and 1.0 less for each power of ten above it, down to 0.5 from 0.03 on."""
    value = 2.0 - min(1.5, max(0.0, math.log10(max(_lrs[0], 1e-9)) + 3))
    loss: torch.Tensor = _Given.apply(nn.functional.cross_entropy(outputs, targets), torch.tensor(value))
    return loss


def _optimizer(params: Any, lr: float) -> torch.optim.Optimizer:
    return _Sgd(params, lr=lr)


def asserting_at_high_lrs() -> probe.Task:
    return probe.Task(
        model=lambda: nn.Linear(8, 3), train=_data(), val=_data(32), loss=_loss, optimizer=_optimizer, batch_size=32
    )
