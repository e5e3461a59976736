"""Metrics of the training samples: those of a second pass over them, had the weights stood still."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from made_tasks import made_task
from torch import Tensor

import probe.training.metrics as metrics_module
from probe.device.cpu import CpuDevice
from probe.errors import TaskError
from probe.training.metrics import IGNORED, RunningMetrics
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings

MADE = {
    "accuracy": (torch.randn(23, 5), torch.randint(5, (23,))),
    "error_rate": (torch.randn(23, 5, 3, 2), torch.randint(5, (23, 3, 2))),
    "mae": (torch.randn(23, 2), torch.randn(23, 2)),
    "rmse": (torch.randn(23, 2), torch.randn(23, 2)),
}
OF_ALL_SAMPLES: dict[str, Any] = {
    "accuracy": lambda outputs, targets: (outputs.argmax(dim=1) == targets).float().mean().item(),
    "error_rate": lambda outputs, targets: (outputs.argmax(dim=1) != targets).float().mean().item(),
    "mae": lambda outputs, targets: (outputs - targets).abs().mean().item(),
    "rmse": lambda outputs, targets: (outputs - targets).square().mean().sqrt().item(),
}


@pytest.mark.parametrize("max_kept_bytes", [0, 200, 2**20])
@pytest.mark.parametrize("name", MADE)
def test_batch_by_batch_it_is_the_metric_of_all_samples(
    name: str, max_kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_module, "MAX_KEPT_BYTES", max_kept_bytes)
    outputs, targets = MADE[name]
    running = RunningMetrics({"shown": name})
    for start in range(0, 23, 7):
        running.add(outputs[start : start + 7], targets[start : start + 7])
    assert running.read() == pytest.approx({"shown": OF_ALL_SAMPLES[name](outputs, targets)}, rel=1e-5)


def test_batches_of_different_shapes_count_by_their_values() -> None:
    running = RunningMetrics({"mae": "mae"})
    running.add(torch.ones(2, 3), torch.zeros(2, 3))
    running.add(torch.zeros(1, 2), torch.zeros(1, 2))
    assert running.read() == {"mae": 0.75}


@pytest.mark.parametrize("gradient_accumulation", [1, 3])
def test_an_epoch_that_changes_nothing_has_the_metrics_of_an_evaluation(gradient_accumulation: int) -> None:
    task = made_task(model=partial(torch.nn.Linear, 6, 3), metrics={"accuracy": "accuracy", "wrong": "error_rate"})
    settings = TrainerSettings(optimizer="sgd", lr=1e-30, batch_size=16, gradient_accumulation=gradient_accumulation)
    run = TrainingRun(task, settings, device=CpuDevice(), seed=1)
    report = run.run_epoch()
    assert report is not None
    assert report.train_metrics == pytest.approx(run.evaluate(task.train).metrics)
    assert set(report.train_metrics) == {"accuracy", "wrong"}


def test_training_itself_does_not_notice() -> None:
    def weights(metrics: dict[str, Any]) -> list[Tensor]:
        run = TrainingRun(made_task(metrics=metrics), TrainerSettings(batch_size=16), device=CpuDevice(), seed=3)
        run.run_epoch()
        return list(run.model.parameters())

    pairs = zip(weights({}), weights({"accuracy": "accuracy"}), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_callable_and_what_does_not_fit_are_left_to_validation() -> None:
    task = made_task(metrics={"mine": lambda outputs, targets: 0.5, "rmse": "rmse", "accuracy": "accuracy"})
    running = RunningMetrics(task.metrics)
    running.add(torch.randn(4, 3), torch.zeros(4, dtype=torch.long))
    assert set(running.read()) == {"accuracy"}


def test_padded_tokens_that_are_ignored_do_not_count() -> None:
    running = RunningMetrics({"right": "accuracy", "wrong": "error_rate"}, strict=True)
    for length, first_wrong in (
        (3, 0),
        (5, 2),
    ):  # outputs (samples, classes, length), as PyTorch's cross_entropy has them
        targets = torch.ones(4, length, dtype=torch.long)
        targets[:, -1] = IGNORED
        outputs = torch.nn.functional.one_hot(targets.clamp(min=0), 3).float().movedim(2, 1)
        targets[:first_wrong, 0] = 2
        running.add(outputs, targets)
    assert running.read() == pytest.approx({"right": 22 / 24, "wrong": 2 / 24})


def test_a_part_without_targets_that_count_has_no_accuracy() -> None:
    running = RunningMetrics({"accuracy": "accuracy"}, strict=True)
    running.add(torch.randn(4, 3), torch.full((4,), IGNORED))
    assert math.isnan(running.read()["accuracy"])


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        (torch.randn(4, 3), torch.full((4, 3), 1 / 3)),
        (torch.randn(4), torch.zeros(4, dtype=torch.long)),
        (torch.randn(4, 1), torch.zeros(4, dtype=torch.long)),
        (torch.randn(4, 3), torch.zeros(4, 1, dtype=torch.long)),
        ({"logits": torch.randn(4, 3)}, torch.zeros(4, dtype=torch.long)),
        (torch.randn(4, 3), {"inputs": torch.randn(4, 6)}),
    ],
    ids=["soft targets", "one output", "one class", "a column of targets", "a dictionary", "a batch without targets"],
)
def test_what_has_no_class_has_no_accuracy(outputs: Any, targets: Any) -> None:
    running = RunningMetrics({"accuracy": "accuracy"})
    running.add(outputs, targets)
    assert running.read() == {}
    with pytest.raises(TaskError, match=r"Metric 'shown' .*\(samples, classes, ...\)"):
        read_strictly({"shown": "accuracy"}, outputs, targets)


def read_strictly(metrics: dict[str, Any], outputs: Any, targets: Any) -> dict[str, float]:
    running = RunningMetrics(metrics, strict=True)
    running.add(outputs, targets)
    return running.read()


def test_errors_are_not_broadcast() -> None:
    with pytest.raises(TaskError, match=r"but got float32 of shape \(4, 1\) and float32 of shape \(4,\)"):
        read_strictly({"mae": "mae"}, torch.zeros(4, 1), torch.zeros(4))


def test_what_is_not_finite_is_left_out() -> None:
    running = RunningMetrics({"mae": "mae"})
    running.add(torch.tensor([float("inf")]), torch.zeros(1))
    assert running.read() == {}


def test_targets_that_augmentation_mixes_end_the_training_accuracy_not_the_run() -> None:
    def mix(batch: Any) -> Any:
        inputs, targets = batch
        soft = torch.nn.functional.one_hot(targets, 3).float()
        return inputs, (soft + soft.flip(0)) / 2

    run = TrainingRun(made_task(augment=mix), TrainerSettings(), device=CpuDevice(), seed=0)
    report = run.run_epoch()
    assert report is not None
    assert report.train_metrics == {}
    assert report.metrics["accuracy"] > 0
