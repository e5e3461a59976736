"""A small task for range tests, and the state that they must restore."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import nn

import probe
from probe.device.cpu import CpuDevice
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings


def made_data(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs (N, 8) and classes (N,). The classes are the same function of the inputs for every seed."""
    inputs = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    weights = torch.randn(3, 3, generator=torch.Generator().manual_seed(99))
    return inputs, (inputs[:, :3] @ weights).argmax(dim=1)


def made_task(**changes: Any) -> probe.Task:
    fields: dict[str, Any] = {
        "model": lambda: nn.Sequential(
            nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 3)
        ),
        "train": made_data(256, seed=0),
        "batch_size": 32,
        "optimizer": "adam",
    }
    return probe.Task(**(fields | changes))


def run_of(task: probe.Task, **settings: Any) -> TrainingRun:
    return TrainingRun(task, TrainerSettings.for_task(task, settings), device=CpuDevice(), seed=0)


def all_state(run: TrainingRun) -> list[Any]:
    """Return weights, optimizer state, learning rates and the state of all random generators."""
    state = run.state()
    tensors = [tensor.clone() for tensor in state["model"].values()]
    slots = [value for slots in state["optimizer"]["state"].values() for value in slots.values()]
    lrs = [group["lr"] for group in state["optimizer"]["param_groups"]]
    drawn = np.random.get_state()  # noqa: NPY002 - users draw from it
    return [tensors, slots, lrs, torch.get_rng_state(), random.getstate(), drawn]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(np.all(a == b))
