"""What a probe will spend, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.errors import UsageError
from probe.lr.plan import plan_probe

USUAL: dict[str, Any] = {
    "lowest_lr": 1e-5,
    "highest_lr": 10.0,
    "steps": None,
    "repeats": 1,
    "confirm": False,
    "training_steps": 1000,
}


def test_the_three_depths() -> None:
    assert plan_probe(**USUAL).max_steps == 300
    assert plan_probe(**USUAL | {"confirm": True}).max_steps == 700
    full = plan_probe(**USUAL | {"confirm": "full"})
    assert full.max_steps == 100 + 5 * 250  # about one and a half trainings
    assert plan_probe(**USUAL | {"repeats": 3, "steps": 150}).max_steps == 450


@given(st.integers(1, 100_000), st.sampled_from([True, "full"]))
def test_no_run_is_longer_than_the_training(training_steps: int, confirm: bool | str) -> None:
    plan = plan_probe(**USUAL | {"training_steps": training_steps, "confirm": confirm})
    assert 1 <= plan.run_steps <= max(training_steps, 1)
    assert plan.max_steps == plan.ramp_steps + plan.num_runs * plan.run_steps


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lowest_lr": 1.0, "highest_lr": 1.0}, "increasing"),
        ({"lowest_lr": -1.0}, "increasing"),
        ({"highest_lr": float("inf")}, "increasing"),
        ({"steps": 29}, "at least 30 steps"),
        ({"repeats": 0}, "repeats must be a whole number"),
        ({"training_steps": 0}, "training_steps must be a whole number"),
        ({"training_steps": 2.5}, "training_steps must be a whole number"),
        ({"confirm": "long"}, "False, True or 'full'"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan_probe(**USUAL | changes)
