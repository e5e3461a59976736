"""Memory is predicted with augmentation and another training loss in the step, as it is without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from probe.batch.prediction.build_memory_model import build_memory_model
from probe.batch.prediction.memory_model import MemoryModel
from probe.batch.samples.task_samples import load_batch, rank_samples
from probe.device.simulated import SimulatedDevice
from probe.loading.random_state import random_state_kept
from probe.loading.trees import map_tensors
from probe.task import Task
from probe.tasks.options import AUGMENTATIONS
from probe.tasks.source import NamedSource
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings


def measured_peak(task: Task, batch_size: int) -> int:
    """As an attempt: three training steps, one evaluation step."""
    device, cpu = SimulatedDevice(2**60), torch.device("cpu")
    on_host = load_batch(task, task.train, rank_samples(task, seed=0)[0].costliest(batch_size)[0])
    with random_state_kept(cpu), device.track():
        run = TrainingRun(task, TrainerSettings.for_task(task, {"batch_size": batch_size}), device=device, seed=0)
        batch = map_tensors(lambda tensor: tensor.to(cpu, copy=True), on_host)
        for _ in range(3):
            run.train_step(batch)
        run.eval_step(batch)
    return device.read_memory().peak_allocated_bytes


@pytest.mark.parametrize(
    "params",
    [
        *({"augmentation": name} for name in AUGMENTATIONS),
        {"loss": "focal", "label_smoothing": 0.1},
    ],
    ids=str,
)
def test_options_are_traced(params: dict[str, Any], tmp_path: Path) -> None:
    source = NamedSource(model="mlp", data="digits", data_dir=tmp_path)
    profile = build_memory_model(source, params=params, target="simulated", in_process=True)
    assert isinstance(profile, MemoryModel), profile
    task = source.build(params)
    for batch_size in (16, 64):
        assert profile.live_peak_bytes(batch_size) == measured_peak(task, batch_size)
