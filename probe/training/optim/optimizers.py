"""Creation of optimizers, by name or by the user's callable."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from probe.errors import TaskError, UsageError
from probe.training.optim.names import OPTIMIZER_NAMES, named_optimizer, optimizer_title
from probe.training.optim.reached_hyperparameters import accepts
from probe.training.settings import TrainerSettings


def make_optimizer(params: Iterable[Tensor], settings: TrainerSettings) -> torch.optim.Optimizer:
    """The optimizer of `settings` for the trainable parameters among `params`.

    Raises:
        UsageError: an unknown name, or a hyperparameter that the optimizer does not accept.
        TaskError: there are no trainable parameters, or the user's callable returned an unusable optimizer.
    """
    trainable = [parameter for parameter in params if parameter.requires_grad]
    if not trainable:
        raise TaskError(
            "The model has no trainable parameters.",
            hint="Make its layers attributes of the model, and set requires_grad.",
        )
    given = {name: getattr(settings, name) for name in ("momentum", "weight_decay")}
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
    make: Callable[..., torch.optim.Optimizer] = getattr(torch.optim, named.class_name)
    return make(trainable, lr=settings.lr, **{**named.fixed, **given})


def _make_from_callable(
    make: Callable[..., Any], params: list[Tensor], lr: float, given: dict[str, float]
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
