"""Memory of real training, measured by the simulated device."""

from __future__ import annotations

from typing import Any

import torch

from probe.batch.task_samples import load_batch, rank_samples
from probe.device.simulated import SimulatedDevice
from probe.loading.random_state import random_state_kept
from probe.task import Task
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings
from probe.training.step import matmul_precision


def measured_peak(task: Task, batch_size: int, **params: Any) -> int:
    """Return the peak of three training steps and one evaluation step, as in an attempt."""
    gradient_accumulation = min(params.get("gradient_accumulation", 1), batch_size)
    settings = TrainerSettings.for_task(
        task, params | {"batch_size": batch_size, "gradient_accumulation": gradient_accumulation}
    )
    device, cpu = SimulatedDevice(2**60), torch.device("cpu")
    on_host = load_batch(task, task.train, rank_samples(task, seed=0)[0].largest(batch_size)[0])
    with random_state_kept(cpu), matmul_precision(settings.precision), device.track():
        run = TrainingRun(task, settings, device=device, seed=0)
        batch = on_host.to(cpu, copy=True)
        run.model.train()
        for _ in range(3):
            run.train_step(batch)
        run.eval_step(batch)
    return device.read_memory().peak_allocated_bytes
