"""The range test on real training: it finds usable learning rates and restores the run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from made_lr_tasks import all_state, made_task, run_of, same
from torch import nn

import probe
from probe.device.cpu import CpuDevice
from probe.errors import ProbeError
from probe.lr.measure import run_range_test
from probe.lr.plan import LrPlan
from probe.lr.records import LrCurve, LrProgress
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings


@pytest.mark.parametrize("warm_steps", [0, 3])
def test_everything_is_as_before(warm_steps: int) -> None:
    run = run_of(made_task())
    for batch, _ in zip(run.batches(), range(warm_steps), strict=False):
        run.train_step(batch)
    before = all_state(run)
    run_range_test(run, lowest_lr=1e-5, highest_lr=10, num_steps=60, seed=0)
    assert same(before, all_state(run))


def test_everything_is_as_before_after_an_exception() -> None:
    calls = 0

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise RuntimeError("the user's own")
        return nn.functional.cross_entropy(outputs, targets)

    run = run_of(made_task(loss=loss))
    before = all_state(run)
    with pytest.raises(RuntimeError, match="the user's own"):
        run_range_test(run, lowest_lr=1e-5, highest_lr=10, num_steps=60, seed=0)
    assert same(before, all_state(run))


def test_ctrl_c_keeps_the_curve_so_far() -> None:
    seen: list[LrProgress] = []

    def observer(progress: LrProgress) -> None:
        seen.append(progress)
        if len(seen) == 4:
            raise KeyboardInterrupt

    run = run_of(made_task())
    before = all_state(run)
    curve = run_range_test(run, lowest_lr=1e-5, highest_lr=10, num_steps=100, seed=0, observer=observer)
    assert (curve.ended_by, len(curve.points)) == ("interrupted", 40)
    assert same(before, all_state(run))


def test_a_suggestion_trains_well() -> None:
    records: list[Any] = []
    result = probe.find_lr(made_task(), steps=200, observer=records.append)
    assert result.suggestion is not None
    assert 1e-3 < result.suggestion.lr < 1
    assert isinstance(records[-1], LrCurve)
    assert isinstance(records[0], LrPlan)
    assert [record.step for record in records[1:-1]] == list(range(10, 10 * (len(records) - 1), 10))

    def loss_after(lr: float) -> float:
        task = made_task()
        run = TrainingRun(task, TrainerSettings.for_task(task, {"lr": lr}), device=CpuDevice(), seed=9)
        losses = [run.train_epoch() for _ in range(8)]
        return losses[-1] or 99.0

    assert loss_after(result.suggestion.lr) < min(loss_after(1e-4), loss_after(10.0))


def test_equal_seeds_give_equal_results_and_leave_the_generators_alone() -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    first = probe.find_lr(made_task(), steps=60, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    second = probe.find_lr(made_task(), steps=60, seed=4)
    assert first.curves == second.curves
    assert first.curves != probe.find_lr(made_task(), steps=60, seed=5).curves


def test_not_finite_comes_before_divergence() -> None:
    result = probe.find_lr(made_task(loss=lambda o, t: o.sum() * float("inf")), steps=60)
    assert result.suggestion is None
    assert result.curves[0].ended_by == "non_finite"
    assert "first step" in result.warnings[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lowest_lr": 1.0, "highest_lr": 0.1}, "increasing"),
        ({"lowest_lr": 0.0}, "increasing"),
        ({"highest_lr": float("nan")}, "increasing"),
        ({"steps": 10}, "at least 30 steps"),
        ({"params": {"batch_size": 512}}, "512"),
        ({"params": {"optimizer": "lbfgs"}}, "Unknown optimizer"),
        ({"device": "cuda:99"}, "CUDA"),
        ({"device": "mps"}, "MPS"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        probe.find_lr(made_task(), **options)
