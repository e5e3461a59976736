"""A small real task that takes its time, and notes in a file where and when each of its jobs began."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

import probe

NUM_STEPS = 10
"""Of an epoch."""


class _Paused(nn.Module):
    def __init__(self, pause: float) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.pause = pause

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            time.sleep(self.pause / NUM_STEPS)
        out: torch.Tensor = self.layer(x)
        return out


def blobs(mark: float = 0.0, pause: float = 0.0, ledger: str = "") -> probe.Task:
    """Two Gaussian blobs; an epoch takes `pause` seconds. `mark` does nothing but tell trials apart in `ledger`."""
    if ledger:
        _note(Path(ledger), mark)
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(200) % 2
    inputs = torch.randn(200, 4, generator=generator) + 0.5 * targets[:, None]
    return probe.Task(
        model=lambda: _Paused(pause),
        train=(inputs[:160], targets[:160]),
        test=(inputs[160:], targets[160:]),
        metrics={"accuracy": "accuracy"},
        optimizer="sgd",
        batch_size=160 // NUM_STEPS,
        name="blobs",
    )


def _note(ledger: Path, mark: float) -> None:
    """One line, whole: several processes write. Times are the machine's own, which all of them share."""
    ray = sys.modules.get("ray")  # which is there where this is a node
    node = "" if ray is None else ray.get_runtime_context().get_node_id()
    line = json.dumps({"at": time.monotonic(), "pid": os.getpid(), "node": node, "mark": mark}) + "\n"
    place = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(place, line.encode())
    finally:
        os.close(place)
