"""Optimizers, by name or by the user's callable, and L1 and L2 penalties.

Penalties apply to parameters with two or more dimensions, not to biases, norms and scalars (Goodfellow, Bengio & Courville
2016, section 7.1). They are not part of the reported loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from probe.errors import TaskError, UsageError
from probe.training.optimizer_names import OPTIMIZER_NAMES, OPTIONAL, named_optimizer, optimizer_title
from probe.training.reached_hyperparameters import accepts
from probe.training.settings import TrainerSettings


def make_optimizer(
    params: Iterable[Tensor], settings: TrainerSettings, *, prefers_fused: bool = False
) -> torch.optim.Optimizer:
    """The optimizer of `settings` for the trainable parameters among `params`, fused if PyTorch has that and either `settings`
    or, by default, `prefers_fused` asks for it. Raises UsageError for an unknown name or hyperparameter, TaskError without
    parameters or for an unusable optimizer of the user's callable."""
    trainable = [parameter for parameter in params if parameter.requires_grad]
    if not trainable:
        raise TaskError(
            "The model has no trainable parameters.",
            hint="Make its layers attributes of the model, and set requires_grad.",
        )
    given = {name: getattr(settings, name) for name in OPTIONAL}
    given = {name: value for name, value in given.items() if value is not None}
    if callable(settings.optimizer):
        return _make_from_callable(settings.optimizer, trainable, settings.lr, given)
    named = named_optimizer(settings.optimizer)
    for name in given:
        if name not in named.hyperparameters:
            raise UsageError(
                f"{settings.optimizer} does not accept {name}, only {', '.join(sorted(named.hyperparameters))}.",
                hint=f'In a recipe, make it conditional on the optimizer: {name} = {{ ..., when = {{ optimizer = "sgd" }} }}.',
            )
    can_fuse = "fused" in named.hyperparameters and all(weight.is_floating_point() for weight in trainable)
    is_fused = given.pop("fused", prefers_fused and can_fuse)
    # PyTorch's own fused=False would also turn off its loops over all weights in one kernel for each operation.
    options = {**named.fixed, **given, **({"fused": True} if is_fused else {})}
    make: Callable[..., torch.optim.Optimizer] = getattr(torch.optim, named.class_name)
    return make(trainable, lr=settings.lr, **options)


def has_sparse_gradients(model: torch.nn.Module) -> bool:
    """Whether an embedding of the model has sparse gradients, which fused optimizers do not support."""
    return any(getattr(module, "sparse", False) is True for module in model.modules())


def _make_from_callable(
    make: Callable[..., Any], params: list[Tensor], lr: float, given: dict[str, Any]
) -> torch.optim.Optimizer:
    refused = [name for name in given if not accepts(make, name)]
    if refused:
        raise UsageError(
            f"{' and '.join(refused)} cannot be set: the optimizer callable {optimizer_title(make)} has no such keyword.",
            hint=f"Add the keyword, like optimizer=lambda params, lr, {refused[0]}: ..., or use an optimizer by name.",
        )
    optimizer = make(params, lr=lr, **given)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TaskError(f"The optimizer callable must return a torch.optim.Optimizer, not {type(optimizer).__name__}.")
    if isinstance(optimizer, torch.optim.LBFGS):
        raise TaskError(
            "LBFGS evaluates the model several times per step, which is not supported.",
            hint=f"Use a first-order optimizer, like {', '.join(OPTIMIZER_NAMES[:4])}.",
        )
    if any("lr" not in group for group in optimizer.param_groups):
        raise TaskError(f"{type(optimizer).__name__} has no learning rate ('lr') in its parameter groups.")
    return optimizer


def is_penalized(weight: torch.Tensor) -> bool:
    """Whether penalties apply to this parameter."""
    return weight.dim() >= 2


def add_to_gradients(optimizer: torch.optim.Optimizer, settings: TrainerSettings) -> None:
    """Add the derivative of l1 * sum |w| + l2 * sum w^2 to the gradients."""
    weights = [weight for group in optimizer.param_groups for weight in _penalized(group)]
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    with torch.no_grad():
        if weights and settings.l2:
            torch._foreach_add_(gradients, weights, alpha=2 * settings.l2)
        if weights and settings.l1:
            torch._foreach_add_(gradients, torch._foreach_sign(weights), alpha=settings.l1)


def apply_to_weights(optimizer: torch.optim.Optimizer, settings: TrainerSettings) -> None:
    """Apply decoupled penalties: shrink weights by the factor 1 - 2 * lr * l2 (Loshchilov & Hutter 2019) and soft-threshold
    them at lr * l1 (the proximal step of Duchi & Singer 2009), which sets weights to exactly zero."""
    with torch.no_grad():
        for group in optimizer.param_groups:
            weights = _penalized(group)
            if weights and settings.l2:
                torch._foreach_mul_(weights, 1 - 2 * group["lr"] * settings.l2)
            if weights and settings.l1:
                threshold = group["lr"] * settings.l1
                removed = torch._foreach_clamp_min(weights, -threshold)
                torch._foreach_clamp_max_(removed, threshold)
                torch._foreach_sub_(weights, removed)


def _penalized(group: dict[str, Any]) -> list[Tensor]:
    return [weight for weight in group["params"] if weight.grad is not None and is_penalized(weight)]
