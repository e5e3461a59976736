"""The peak of checkpoints, before a search begins."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_searches import SCHEDULERS, search

from probe.recipe.schema import SchedulerName
from probe.search.records.search import BudgetLimits
from probe.search.schedulers.registry import make_scheduler
from probe.search.study.kept_checkpoints import peak_checkpoints
from probe.training.optimizer_names import OPTIMIZER_NAMES, num_state_values
from probe.training.optimizers import make_optimizer
from probe.training.settings import TrainerSettings


def forecast(scheduler: SchedulerName, limits: BudgetLimits) -> int | None:
    return peak_checkpoints(partial(make_scheduler, scheduler, (1, 3, 9), factor=3, mode="max"), limits)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(SCHEDULERS), st.integers(3, 60), st.none() | st.integers(20, 200), st.integers(0, 1000))
def test_searches_stay_about_at_or_below_it(
    scheduler: SchedulerName, trials: int, epochs: int | None, seed: int
) -> None:
    limits = BudgetLimits(trials=trials, epochs=epochs)
    expected = forecast(scheduler, limits)
    assert expected is not None
    found = search(limits=limits, scheduler=scheduler, seed=seed)
    assert found.peak <= 1.25 * expected + 2


def test_twenty_four_trials_keep_a_third_and_not_all() -> None:
    assert 8 <= (forecast("asha", BudgetLimits(trials=24)) or 0) <= 12


def test_time_alone_tells_nothing_and_long_searches_are_extrapolated() -> None:
    assert forecast("asha", BudgetLimits(time_seconds=60.0)) is None
    short, long = (forecast("asha", BudgetLimits(trials=trials)) or 0 for trials in (200, 2_000_000))
    assert long == pytest.approx(10_000 * short, rel=0.1)


@pytest.mark.parametrize("name", OPTIMIZER_NAMES)
@pytest.mark.parametrize("momentum", [None, 0.9])
def test_the_numbers_that_an_optimizer_keeps_are_those_of_pytorchs(name: str, momentum: float | None) -> None:
    if momentum is not None and name not in ("sgd", "nesterov", "rmsprop"):
        return
    weight = torch.nn.Parameter(torch.ones(50, 20))
    optimizer = make_optimizer(
        [weight], TrainerSettings(optimizer=name, lr=0.01, batch_size=4, epochs=1, momentum=momentum)
    )
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    state = optimizer.state[weight]
    kept = sum(value.numel() for value in state.values() if isinstance(value, torch.Tensor) and value.numel() > 1)
    assert kept == num_state_values(name, momentum=momentum is not None) * weight.numel()
