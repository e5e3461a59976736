"""Which hyperparameters have an effect on the optimizer of a task, which may be the user's callable."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from probe.errors import TaskError
from probe.task import Task
from probe.tasks.source import TaskSource
from probe.training.building import build_task
from probe.training.optimizer_names import OPTIONAL, hyperparameters_of, optimizer_title

OF_OPTIMIZERS = ("lr", *OPTIONAL)
_TWO_VALUES = {"lr": (1e-3, 2e-3), "momentum": (0.5, 0.25), "weight_decay": (1e-3, 2e-3), "fused": (False, True)}


def reached(task: Task, source: TaskSource, params: Mapping[str, Any]) -> tuple[str, ...]:
    """The hyperparameters in OF_OPTIMIZERS that change the task's optimizer. A callable is called with two values of each, on a
    tiny parameter or, if that fails, on the model's own, and the parameter groups are compared. The learning rate may also act
    through a keyword `lr` of the task function."""
    if isinstance(task.optimizer, str):
        return ("lr", *(name for name in OF_OPTIMIZERS if name in hyperparameters_of(task.optimizer)))
    return tuple(name for name in OF_OPTIMIZERS if _reaches(name, task, source, params))


def check_lr_reached(task: Task, source: TaskSource, params: Mapping[str, Any]) -> None:
    """Raise TaskError if the learning rate has no effect on the task's optimizer."""
    if params.get("optimizer") is None and "lr" not in reached(task, source, params):
        raise TaskError(
            f"The optimizer of {source.title}, {optimizer_title(task.optimizer)}, ignores lr: its parameter groups are the "
            "same with lr = 0.001 and with lr = 0.002.",
            hint="Use it in the callable, like: optimizer=lambda params, lr: torch.optim.SGD(params, lr=lr)",
        )


def accepts(make: Callable[..., Any], name: str) -> bool:
    """Whether the callable accepts the keyword `name`."""
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return True
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    return takes_any or name in parameters


def _reaches(name: str, task: Task, source: TaskSource, params: Mapping[str, Any]) -> bool:
    if not accepts(task.optimizer, name):  # type: ignore[arg-type]  # named optimizers were handled before
        return False
    one, other = _TWO_VALUES[name]
    before, after = _groups(task, name, one), _groups(task, name, other)
    if before is None or after is None:
        return name == "lr"  # it cannot be called here; training will raise the error
    if before != after or name != "lr" or "lr" not in (source.keywords() or ()):
        return before != after
    built = [build_task(source, {**params, "lr": value}) for value in (one, other)]
    return _groups(built[0], name, one) != _groups(built[1], name, other)


def _groups(task: Task, name: str, value: float) -> str | None:
    """The options of the parameter groups with this value; None if the optimizer cannot be created."""
    options = {"lr": _TWO_VALUES["lr"][0], name: value}
    for make_weights in (_tiny_weights, lambda: task.model().parameters()):
        try:
            with torch.random.fork_rng(devices=[]):  # initial weights are random
                optimizer = task.optimizer(list(make_weights()), **options)  # type: ignore[operator]
            if any("lr" not in group for group in optimizer.param_groups):
                return None
            return repr(
                [{key: item for key, item in group.items() if key != "params"} for group in optimizer.param_groups]
            )
        except Exception:  # training will raise the same error
            continue
    return None


def _tiny_weights() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.zeros(2, 2))]
