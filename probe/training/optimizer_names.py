"""What optimizers are called and what they take. Without PyTorch, whose import takes seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from probe.errors import UsageError, unknown_name


@dataclass(frozen=True, slots=True)
class NamedOptimizer:
    class_name: str
    """In torch.optim."""
    hyperparameters: frozenset[str]
    """Which of momentum and weight_decay it takes."""
    fixed: Mapping[str, Any] = field(default_factory=dict)


_DECAY = frozenset({"weight_decay"})
_OPTIMIZERS = {
    "sgd": NamedOptimizer("SGD", _DECAY | {"momentum"}),
    "nesterov": NamedOptimizer("SGD", _DECAY | {"momentum"}, {"nesterov": True, "momentum": 0.9}),
    "adam": NamedOptimizer("Adam", _DECAY),
    "adamw": NamedOptimizer("AdamW", _DECAY),
    "nadam": NamedOptimizer("NAdam", _DECAY),
    "radam": NamedOptimizer("RAdam", _DECAY),
    "adamax": NamedOptimizer("Adamax", _DECAY),
    "rmsprop": NamedOptimizer("RMSprop", _DECAY | {"momentum"}),
    "adagrad": NamedOptimizer("Adagrad", _DECAY),
}

OPTIMIZER_NAMES = tuple(_OPTIMIZERS)


def named_optimizer(name: str) -> NamedOptimizer:
    """Raises UsageError for an unknown name."""
    if name not in _OPTIMIZERS:
        message, hint = unknown_name("optimizer", name, OPTIMIZER_NAMES)
        raise UsageError(message, hint=f"{hint} A Task may also bring a callable (params, lr=...) -> Optimizer.")
    return _OPTIMIZERS[name]


def hyperparameters_of(name: str) -> frozenset[str]:
    """Which of momentum and weight_decay the optimizer called `name` takes. Raises UsageError for an unknown name."""
    return named_optimizer(name).hyperparameters


def optimizer_title(optimizer: str | Callable[..., Any]) -> str:
    """Its name, for people."""
    return optimizer if isinstance(optimizer, str) else getattr(optimizer, "__name__", type(optimizer).__name__)
