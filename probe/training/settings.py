"""Settings of the trainer: how a task is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from probe.errors import UsageError, unknown_name
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
    max_grad_norm: float | None = None
    """Gradients with a larger norm are scaled down to this norm; None for no limit."""
    lr_schedule: LrSchedule = "constant"
    epochs: int = 1
    """Planned number of epochs, which learning-rate schedules span."""

    def __post_init__(self) -> None:
        _check_number(self, "lr", above=0)
        for name in ("momentum", "weight_decay", "l1", "l2", "max_grad_norm"):
            if getattr(self, name) is not None:
                _check_number(self, name, least=0)
        for name in ("batch_size", "gradient_accumulation", "epochs"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"{name} must be an integer of at least 1, not {value!r}.")
        for name in ("activation_checkpointing", "decoupled"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} must be true or false, not {getattr(self, name)!r}.")
        if self.momentum is not None and self.momentum >= 1:
            raise UsageError(f"momentum must be below 1, not {self.momentum}.")
        if self.gradient_accumulation > self.batch_size:
            raise UsageError(
                f"A batch of {self.batch_size} cannot be split into {self.gradient_accumulation} micro-batches."
            )
        for name, allowed in (("precision", get_args(Precision)), ("lr_schedule", get_args(LrSchedule))):
            if getattr(self, name) not in allowed:
                message, hint = unknown_name(name, str(getattr(self, name)), allowed)
                raise UsageError(message, hint=hint)

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
    """The hyperparameters that the source's task is built with.

    These are all that are not the trainer's, and the trainer's that are keywords of the task function. `**kwargs` gets none of
    the trainer's. Raises UsageError for a penalty that both the trainer and the task would apply.
    """
    keywords = source.keywords() or ()
    for name in PENALTIES:
        if name in params and name in keywords:
            raise UsageError(
                f"{name} is a penalty of probe's trainer and also a keyword of {source.title}, so it would be applied twice.",
                hint=f"Rename the keyword, for example to my_{name}, or remove it and let the trainer apply {name}.",
            )
    return {name: value for name, value in params.items() if name not in TRAINER_NAMES or name in keywords}


def _check_number(settings: TrainerSettings, name: str, *, above: float = -math.inf, least: float = -math.inf) -> None:
    value = getattr(settings, name)
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not (fits and value > above and value >= least):
        rule = f"above {above:g}" if above > -math.inf else f"at least {least:g}"
        raise UsageError(f"{name} must be a number {rule}, not {value!r}.")
