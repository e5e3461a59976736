"""Errors of the task's code during range tests and runs: those of a high learning rate, and those of the task."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from made_lr_tasks import made_data, made_task
from torch import nn

import probe
from probe.errors import TaskError
from probe.lr.suggest import MIN_STEPS, suggest
from probe.report.lr.summary import curve_text, run_table


class _Checked(nn.Linear):
    """Raises an error as soon as a weight is larger than any that a usable learning rate leads to."""

    def __init__(self, largest: float) -> None:
        super().__init__(8, 3)
        self.largest = largest

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.weight.abs().max() > self.largest:
            raise ValueError("weights have exploded\nall of them")
        return super().forward(x)


class _Counting(nn.Linear):
    """Raises an error in its n-th training step, whatever the learning rate."""

    def __init__(self, last: int) -> None:
        super().__init__(8, 3)
        self.left = last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.left -= self.training
        if self.left < 0:
            raise ZeroDivisionError("a bad sample")
        return super().forward(x)


def exploding(largest: float = 50.0, **changes: Any) -> probe.Task:
    return made_task(model=lambda: _Checked(largest), optimizer="sgd", **changes)


def test_an_error_at_a_high_learning_rate_ends_the_range_test() -> None:
    result = probe.find_lr(exploding(), steps=120, highest_lr=1e5)
    [curve] = result.curves
    assert curve.ended_by == "raised"
    assert curve.raised is not None
    assert curve.raised.error == "ValueError: weights have exploded"
    assert curve.raised.was_checked
    assert curve.raised.lr > curve.points[-1].lr > 1
    assert result.suggestion is not None
    assert result.suggestion == suggest(result.curves, num_steps=120, passes=result.passes, lowest_lr=1e-5)[0]
    assert result.num_steps > 2 * len(curve.points)  # those at the lowest learning rate count
    assert result.stopped_by == "finished"
    for text in (curve_text(curve), *result.warnings):
        assert "training raised ValueError: weights have exploded at" in text


def test_an_error_at_the_lowest_learning_rate_as_well_is_one_of_the_task() -> None:
    with pytest.raises(ZeroDivisionError, match="a bad sample"):
        probe.find_lr(made_task(model=lambda: _Counting(MIN_STEPS + 20)), steps=120)


@pytest.mark.parametrize("num_steps", [0, 5, MIN_STEPS - 1])
def test_an_error_in_the_first_steps_is_one_of_the_task(num_steps: int) -> None:
    with pytest.raises(ZeroDivisionError, match="a bad sample"):
        probe.find_lr(made_task(model=lambda: _Counting(num_steps)), steps=120)


def test_out_of_memory_and_broken_contracts_pass_at_any_step() -> None:
    calls = 0

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > MIN_STEPS + 10:
            raise error
        return nn.functional.cross_entropy(outputs, targets)

    for error in (torch.OutOfMemoryError("CUDA out of memory."), TaskError("not one loss")):
        calls = 0
        with pytest.raises(type(error)):
            probe.find_lr(made_task(loss=loss), steps=120)


def test_an_error_of_a_run_is_its_end() -> None:
    task = exploding(largest=1.5, val=made_data(128, seed=1))
    result = probe.find_lr(task, steps=100, highest_lr=100.0, training_steps=100, confirm=True)
    assert result.confirmation is not None
    runs = result.confirmation.runs
    assert len(runs) == 5
    assert runs[0].finished
    assert runs[0].raised is None
    last = runs[-1]
    assert (last.finished, last.raised is not None) == (False, True)
    assert last.num_steps < result.confirmation.planned_steps
    assert "raised ValueError" in run_table(result.confirmation).rows[-1][1]
    assert result.depth == "short"
