"""The training that a learning rate is wanted for: how long it is, and how often it goes over its data."""

from __future__ import annotations

from dataclasses import dataclass

from probe.loading.dataset import is_unbounded, num_samples
from probe.loading.epoch_batches import count_batches
from probe.lr.plan import ASSUMED_HORIZON_STEPS
from probe.task import Task
from probe.training.optim.lr_schedules import mean_lr_factor
from probe.training.settings import TrainerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """Lengths of the planned training."""

    num_steps: int
    is_assumed: bool
    """Nobody said how long it would be."""
    distance: float
    """Steps times the mean of the schedule: those that training at the constant peak learning rate would need to get as far."""
    passes: float
    """As often as steps of that number go over the data; 0 for data without end."""


def find_horizon(task: Task, settings: TrainerSettings, *, steps: int | None, has_epochs: bool) -> Horizon:
    """`steps` where given, else the settings' epochs where somebody chose them (`has_epochs`), else an assumption."""
    num_samples_seen = num_samples(task.train)
    per_epoch = count_batches(num_samples_seen, settings.batch_size, training=True)
    num_steps = steps if steps is not None else settings.epochs * per_epoch if has_epochs else ASSUMED_HORIZON_STEPS
    distance = max(1.0, num_steps * mean_lr_factor(settings.lr_schedule, num_steps))
    return Horizon(
        num_steps=num_steps,
        is_assumed=steps is None and not has_epochs,
        distance=distance,
        passes=0.0 if is_unbounded(task.train) else distance * settings.batch_size / num_samples_seen,
    )
