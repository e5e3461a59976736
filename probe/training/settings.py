"""How a model is trained: everything that is not the task itself."""

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
    """The trainer's hyperparameters, the reserved names of a recipe's [space]. Raises UsageError for a value out of range."""

    optimizer: str | Callable[..., Any] = "adamw"
    lr: float = 1e-3
    """The peak learning rate where `lr_schedule` is not constant."""
    momentum: float | None = None
    """For sgd, nesterov and rmsprop; None: 0.9 for nesterov, the optimizer's own default (0) otherwise."""
    weight_decay: float | None = None
    """Handed to the optimizer: decoupled in AdamW, added to the gradient elsewhere; None: the optimizer's default."""
    l1: float = 0.0
    """Penalty l1 * sum |w| over weights with two or more dimensions (biases and norms are spared)."""
    l2: float = 0.0
    """Penalty l2 * sum w^2 over the same weights."""
    decoupled: bool = False
    """Apply l1 and l2 to the weights after the step, scaled by lr, instead of to the gradient (Loshchilov & Hutter 2019;
    for l1 this is the proximal step, which makes exact zeros)."""
    batch_size: int = DEFAULT_BATCH_SIZE
    gradient_accumulation: int = 1
    """Micro-batches a batch is split into; the gradient is that of the whole batch."""
    precision: Precision = "fp32"
    activation_checkpointing: bool = False
    """Activation checkpointing: blocks compute their activations again in the backward pass instead of keeping them."""
    max_grad_norm: float | None = None
    lr_schedule: LrSchedule = "constant"
    epochs: int = 1
    """The planned length of the whole run: what schedules are stretched over."""

    def __post_init__(self) -> None:
        _check_number(self, "lr", above=0)
        for name in ("momentum", "weight_decay", "l1", "l2", "max_grad_norm"):
            if getattr(self, name) is not None:
                _check_number(self, name, least=0)
        for name in ("batch_size", "gradient_accumulation", "epochs"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"{name} must be a whole number of at least 1, not {value!r}.")
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
        """The task's own optimizer and batch size, and whatever of `params` is the trainer's."""
        return cls(optimizer=task.optimizer, batch_size=task.batch_size).updated(params)

    def updated(self, params: Mapping[str, Any]) -> TrainerSettings:
        """These settings with those of `params` that are the trainer's; the others are not for the trainer to see."""
        return replace(self, **{name: value for name, value in params.items() if name in TRAINER_NAMES})


TRAINER_NAMES = tuple(field.name for field in fields(TrainerSettings))
"""Names of the trainer's hyperparameters. A task whose function takes one of them as a keyword gets the same value."""
PENALTIES = ("l1", "l2")
"""Those that a task would apply a second time."""


def task_params(source: TaskSource, params: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `params` that the source's task is built with: all that are not the trainer's, and those of the trainer's that
    its function names as keywords. `**kwargs` gets none of the trainer's.

    Raises UsageError for a penalty that both the trainer and the task would apply.
    """
    keywords = source.keywords() or ()
    for name in PENALTIES:
        if name in params and name in keywords:
            raise UsageError(
                f"{name} is a penalty of probe's trainer, and {source.title} takes a keyword of that name as well: "
                "it would be applied twice.",
                hint=f"Rename the keyword, like my_{name}, or drop it and let the trainer apply {name}.",
            )
    return {name: value for name, value in params.items() if name not in TRAINER_NAMES or name in keywords}


def _check_number(settings: TrainerSettings, name: str, *, above: float = -math.inf, least: float = -math.inf) -> None:
    value = getattr(settings, name)
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not (fits and value > above and value >= least):
        rule = f"above {above:g}" if above > -math.inf else f"at least {least:g}"
        raise UsageError(f"{name} must be a number {rule}, not {value!r}.")
