"""Names and hyperparameters of optimizers. Imports no PyTorch, which takes seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from probe.errors import UsageError, check_known


@dataclass(frozen=True, slots=True)
class NamedOptimizer:
    """An optimizer of torch.optim."""

    class_name: str
    num_state_values: int
    """State values per parameter, without momentum."""
    hyperparameters: frozenset[str]
    """The hyperparameters that it accepts, of OPTIONAL."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that this name stands for."""


OPTIONAL = ("momentum", "weight_decay", "fused")
"""Hyperparameters that not every optimizer accepts."""
_DECAY = frozenset({"weight_decay"})
_FUSED = _DECAY | {"fused"}
_OPTIMIZERS = {
    "sgd": NamedOptimizer("SGD", 0, _FUSED | {"momentum"}),
    "nesterov": NamedOptimizer("SGD", 0, _FUSED | {"momentum"}, {"nesterov": True, "momentum": 0.9}),
    "adam": NamedOptimizer("Adam", 2, _FUSED),
    "adamw": NamedOptimizer("AdamW", 2, _FUSED),
    "nadam": NamedOptimizer("NAdam", 2, _DECAY),
    "radam": NamedOptimizer("RAdam", 2, _DECAY),
    "adamax": NamedOptimizer("Adamax", 2, _DECAY),
    "rmsprop": NamedOptimizer("RMSprop", 1, _DECAY | {"momentum"}),
    "adagrad": NamedOptimizer("Adagrad", 1, _FUSED),
}

OPTIMIZER_NAMES = tuple(_OPTIMIZERS)


def named_optimizer(name: str) -> NamedOptimizer:
    """The optimizer with this name. Raises UsageError for an unknown name."""
    also = "A Task may also have a callable (params, lr=...) -> Optimizer."
    check_known(UsageError, "optimizer", name, OPTIMIZER_NAMES, hint=also)
    return _OPTIMIZERS[name]


def num_state_values(name: str, *, momentum: bool = False) -> int:
    """State values that the optimizer stores per trained parameter. Raises UsageError for an unknown name."""
    named = named_optimizer(name)
    has_momentum = "momentum" in named.hyperparameters and (momentum or "momentum" in named.fixed)
    return named.num_state_values + has_momentum


def hyperparameters_of(name: str) -> frozenset[str]:
    """The hyperparameters that the optimizer accepts, of OPTIONAL. Raises UsageError for an unknown name."""
    return named_optimizer(name).hyperparameters


def optimizer_title(optimizer: str | Callable[..., Any]) -> str:
    """The name of an optimizer, for messages."""
    return optimizer if isinstance(optimizer, str) else getattr(optimizer, "__name__", type(optimizer).__name__)
