"""Settings of the trainer: how a task is trained. Learning-rate schedules are pure functions of the step, so that a checkpoint
stores only the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from probe.errors import UsageError, check_known
from probe.recipe.values import broken_rule
from probe.records import DEFAULT_BATCH_SIZE, Precision
from probe.task import Task
from probe.tasks.source import TaskSource

LrSchedule = Literal["constant", "cosine", "one-cycle", "linear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerSettings:
    """The trainer's hyperparameters, which are reserved names in a recipe's [space]. Raises UsageError for invalid values."""

    optimizer: str | Callable[..., Any] = "adamw"
    lr: float = 1e-3
    """Learning rate; the peak if `lr_schedule` is not constant."""
    momentum: float | None = None
    """Momentum of sgd, nesterov and rmsprop; by default 0.9 for nesterov and 0 otherwise."""
    weight_decay: float | None = None
    """Weight decay of the optimizer: decoupled in AdamW, added to the gradient in others; None for its default."""
    l1: float = 0.0
    """Factor of the penalty l1 * sum |w| over weights with two or more dimensions (no biases, no norms)."""
    l2: float = 0.0
    """Factor of the penalty l2 * sum w^2 over the same weights."""
    decoupled: bool = False
    """Whether l1 and l2 are applied to the weights after the step, scaled by lr, instead of to the gradient (Loshchilov &
    Hutter 2019; for l1 this is the proximal step, which sets weights to exactly zero)."""
    batch_size: int = DEFAULT_BATCH_SIZE
    gradient_accumulation: int = 1
    """Number of micro-batches per batch; the gradient is that of the whole batch."""
    precision: Precision = "fp32"
    activation_checkpointing: bool = False
    """Whether blocks recompute their activations in the backward pass instead of storing them."""
    channels_last: bool = False
    """Whether weights and inputs with channels and two or three spatial dimensions are stored with the channels last."""
    compile: bool = False
    """Whether the forward pass of the model is compiled by torch.compile. Names in the state_dict do not change."""
    fused: bool | None = None
    """Whether the optimizer updates all weights in one kernel; by default on a GPU if PyTorch has such a kernel for it."""
    max_grad_norm: float | None = None
    """Gradients with a larger norm are scaled down to this norm; None for no limit."""
    lr_schedule: LrSchedule = "constant"
    epochs: int = 1
    """Planned number of epochs, which learning-rate schedules span."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            may_be_none = field.default is None and value is None
            rule = None if may_be_none or field.name == "optimizer" else broken_rule(field.name, value)
            if rule is not None:
                raise UsageError(f"{field.name} must be {rule}, not {value!r}.")
        if self.gradient_accumulation > self.batch_size:
            raise UsageError(
                f"A batch of {self.batch_size} cannot be split into {self.gradient_accumulation} micro-batches."
            )
        for name, allowed in (("precision", get_args(Precision)), ("lr_schedule", get_args(LrSchedule))):
            check_known(UsageError, name, getattr(self, name), allowed)

    @classmethod
    def for_task(cls, task: Task, params: Mapping[str, Any]) -> TrainerSettings:
        """The task's optimizer and batch size, updated with the trainer's hyperparameters in `params`."""
        return cls(optimizer=task.optimizer, batch_size=task.batch_size).updated(params)

    def updated(self, params: Mapping[str, Any]) -> TrainerSettings:
        """These settings, updated with the trainer's hyperparameters in `params`; other hyperparameters are ignored."""
        return replace(self, **{name: value for name, value in params.items() if name in TRAINER_NAMES})


TRAINER_NAMES = tuple(field.name for field in fields(TrainerSettings))
"""Names of the trainer's hyperparameters. A task function with a keyword of that name gets the same value."""
PENALTIES = ("l1", "l2")
"""Hyperparameters that must not be passed to a task as well, which would apply them a second time."""


def task_params(source: TaskSource, params: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters that the source's task is built with: all that are not the trainer's, and the trainer's that are
    keywords of the task function (not of `**kwargs`). Raises UsageError for a penalty that both would apply."""
    keywords = source.keywords() or ()
    for name in PENALTIES:
        if name in params and name in keywords:
            raise UsageError(
                f"{name} is a penalty of probe's trainer and also a keyword of {source.title}, so it would be applied twice.",
                hint=f"Rename the keyword, for example to my_{name}, or remove it and let the trainer apply {name}.",
            )
    return {name: value for name, value in params.items() if name not in TRAINER_NAMES or name in keywords}


WARMUP_FRACTION = 0.1
"""Fraction of a run with schedule `linear` in which the learning rate rises (Goyal et al. 2017: 5 of 90 epochs)."""
MEASURED_STEPS = 100_000
"""Steps at which the mean of a schedule is computed: more do not change its first four digits."""
ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = 1e-4 / 25
"""Smith & Topin 2018, with the defaults of torch.optim.lr_scheduler.OneCycleLR; momentum does not change."""


def lr_factor(lr_schedule: LrSchedule, step: int, num_steps: int) -> float:
    """Factor of the peak learning rate at `step` (from 0) of a run of `num_steps`, in (0, 1]. After the planned end, the last
    value is kept."""
    if lr_schedule == "constant":
        return 1.0
    progress = min(step, num_steps - 1) / num_steps
    if lr_schedule == "cosine":
        return _cosine(1.0, 0.0, progress)
    if lr_schedule == "linear":
        warmup = WARMUP_FRACTION
        return (
            (progress + 1 / num_steps) / (warmup + 1 / num_steps)
            if progress < warmup
            else (1 - progress) / (1 - warmup)
        )
    if progress < ONE_CYCLE_RISE:
        return _cosine(ONE_CYCLE_START, 1.0, progress / ONE_CYCLE_RISE)
    return _cosine(1.0, ONE_CYCLE_END, (progress - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE))


def mean_lr_factor(lr_schedule: LrSchedule, num_steps: int) -> float:
    """Mean of `lr_factor` over a run of `num_steps`, in (0, 1]; for a long run, that of a run of MEASURED_STEPS."""
    num_steps = min(num_steps, MEASURED_STEPS)
    return sum(lr_factor(lr_schedule, step, num_steps) for step in range(num_steps)) / num_steps


def _cosine(start: float, end: float, progress: float) -> float:
    """From `start` to `end` along half a cosine (Loshchilov & Hutter 2017)."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
