from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from probe.training.settings import LrSchedule, lr_factor

SCHEDULES = get_args(LrSchedule)


@given(st.sampled_from(SCHEDULES), st.integers(1, 500), st.integers(0, 700))
def test_factors_stay_within_the_peak(lr_schedule: LrSchedule, num_steps: int, step: int) -> None:
    assert 0 < lr_factor(lr_schedule, step, num_steps) <= 1 + 1e-12


@pytest.mark.parametrize("lr_schedule", SCHEDULES)
def test_the_peak_is_reached_and_decays(lr_schedule: LrSchedule) -> None:
    factors = [lr_factor(lr_schedule, step, 200) for step in range(200)]
    assert max(factors) == pytest.approx(1, abs=1e-9)
    if lr_schedule != "constant":
        assert factors[-1] < 0.02


def test_one_cycle_is_torchs_but_for_its_phase_rounding() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=1000, cycle_momentum=False)
    for step in range(999):
        assert lr_factor("one-cycle", step, 1000) == pytest.approx(scheduler.get_last_lr()[0], abs=5e-3)
        optimizer.step()
        scheduler.step()
