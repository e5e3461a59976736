"""Which hyperparameters reach an optimizer that the task brings itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from made_tasks import made_task

from probe.errors import TaskError, UsageError
from probe.task import Task
from probe.tasks.source import as_source
from probe.training.reached_hyperparameters import check_lr_reached, reached
from probe.training.settings import task_params

SGD = torch.optim.SGD


@dataclass(frozen=True)
class Function:
    """A source as a user's function: `make(**params)` is its optimizer."""

    names: tuple[str, ...]
    make: Callable[..., Any]
    title: str = "their:task"
    seed: int = 0

    def keywords(self) -> tuple[str, ...]:
        return self.names

    def build(self, params: Mapping[str, Any]) -> Task:
        return made_task(optimizer=self.make(**params))


def needs_matrices(params: Any, lr: float) -> torch.optim.Optimizer:
    large: list[torch.Tensor] = [weight for weight in params if weight.dim() == 2 and len(weight) > 2]
    groups: list[dict[str, Any]] = [{"params": large, "lr": 10 * lr}, {"params": []}]
    return SGD(groups, lr=lr)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        ("sgd", ("lr", "momentum", "weight_decay", "fused")),
        ("adamw", ("lr", "weight_decay", "fused")),
        (SGD, ("lr", "momentum", "weight_decay", "fused")),
        (partial(torch.optim.AdamW, betas=(0.9, 0.95)), ("lr", "weight_decay", "fused")),
        (lambda params, lr: SGD(params, lr=lr, momentum=0.9), ("lr",)),
        (lambda params, **options: SGD(params, **options), ("lr", "momentum", "weight_decay", "fused")),
        (lambda params, **ignored: SGD(params, lr=0.1), ()),
        (lambda params, lr: SGD(params, lr=0.1), ()),
        (lambda params, lr, momentum: torch.optim.Adam(params, lr=lr, betas=(momentum, 0.99)), ("lr", "momentum")),
        (lambda params, lr, momentum=0.9: torch.optim.Adam(params, lr=lr, betas=(momentum, 0.99)), ("lr", "momentum")),
        (needs_matrices, ("lr",)),
        (lambda params, lr: 1 / 0, ("lr",)),  # broken: the training says so
    ],
)
def test_what_changes_the_parameter_groups_reaches_the_optimizer(make: Any, names: tuple[str, ...]) -> None:
    task = made_task(optimizer=make)
    before = torch.random.get_rng_state()
    assert reached(task, as_source(task), {}) == names
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_learning_rate_may_come_through_the_function_of_the_task() -> None:
    closed_over = Function(("lr",), lambda lr=0.1: lambda params, **_: SGD(params, lr=lr))
    assert reached(closed_over.build({}), closed_over, {}) == ("lr",)
    dropped = Function(("lr",), lambda lr=0.1: lambda params, **_: SGD(params, lr=0.5))
    assert reached(dropped.build({}), dropped, {}) == ()
    with pytest.raises(TaskError, match="ignores lr"):
        check_lr_reached(dropped.build({}), dropped, {})
    check_lr_reached(dropped.build({}), dropped, {"optimizer": "sgd"})  # a named one takes its place


def test_a_task_is_given_what_its_function_names_of_the_trainers() -> None:
    params = {"lr": 0.1, "epochs": 3, "width": 8, "weight_decay": 0.01}
    takes_two = Function(("lr", "epochs", "width"), lambda: "sgd")
    assert task_params(takes_two, params) == {"lr": 0.1, "epochs": 3, "width": 8}
    assert task_params(Function(("width",), lambda: "sgd"), params) == {"width": 8}
    with pytest.raises(UsageError, match=r"l2 is a penalty .* applied twice"):
        task_params(Function(("l2",), lambda: "sgd"), {"l2": 0.1})
