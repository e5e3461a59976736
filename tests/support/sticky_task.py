"""A task whose trials change the current folder and leave something behind in their process that makes later ones fail."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

import probe

os.chdir(Path(__file__).parent)  # a relative path that is meant here would be lost

_is_broken = False
"""As a device is after an assert: nothing more works in this process."""


class _Net(nn.Module):
    def __init__(self, which: int, breaks: str) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.breaks = str(which) in breaks.split()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        global _is_broken
        if _is_broken:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if self.breaks:
            _is_broken = True
            raise RuntimeError("CUDA error: device-side assert triggered")
        out: torch.Tensor = self.layer(x)
        return out


class _Leaving(_Net):
    """Fails in no call of its own; whoever comes after it does."""

    def __init__(self, which: int) -> None:
        super().__init__(which, "")
        self.num_calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        global _is_broken
        out = super().forward(x)
        self.num_calls += 1
        if self.num_calls == LAST_CALL:
            _is_broken = True
        return out


LAST_CALL = 3
"""One training step, one evaluation of the validation part, one of as many training samples."""


def sticky(which: int = 0, breaks: str = "", leaves: bool = False) -> probe.Task:
    """`breaks`: the values of `which`, apart by spaces, that fail and break the process. `leaves`: every trial breaks it with
    its last call."""
    assert Path.cwd() == Path(__file__).parent
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(60, 4, generator=generator), torch.arange(60) % 2

    def model() -> nn.Module:
        os.chdir("/")
        torch.set_default_dtype(torch.float64)
        return (_Leaving(which) if leaves else _Net(which, breaks)).float()

    return probe.Task(
        model=model,
        train=(inputs[:50], targets[:50]),
        test=(inputs[50:], targets[50:]),
        metrics={"accuracy": "accuracy"},
        optimizer="sgd",
        batch_size=40,
    )
