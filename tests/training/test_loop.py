"""The training loop: reports, stop conditions and repeated epochs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from made_tasks import Rows, made_data, made_task
from torch import nn

from probe.device.cpu import CpuDevice
from probe.training.loop import Stop, count_weights, summarize_training, train_epochs
from probe.training.records import EpochReport, WeightCounts
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings


def made_run(**changes: Any) -> TrainingRun:
    task = made_task(**changes)
    return TrainingRun(task, TrainerSettings.for_task(task, {"epochs": 5}), device=CpuDevice(), seed=3)


def test_every_epoch_is_reported_up_to_the_last() -> None:
    run, starts, reports = made_run(), [], list[EpochReport]()
    stop = train_epochs(run, 2, on_report=reports.append, on_epoch_start=lambda: starts.append(run.epoch))
    assert stop == Stop("finished")
    assert ([report.epoch for report in reports], starts) == ([1, 2], [0, 1])
    assert train_epochs(run, 3, on_report=reports.append) == Stop("finished")
    assert [report.epoch for report in reports] == [1, 2, 3]


def test_a_stop_condition_ends_the_training_after_the_report() -> None:
    reports: list[EpochReport] = []
    stop = Stop("early_stopped", "enough")
    ended = train_epochs(
        made_run(), 5, on_report=reports.append, stop_condition=lambda report: stop if report.epoch == 2 else None
    )
    assert (ended, len(reports)) == (stop, 2)


def test_repeated_epochs_are_trained_without_reports() -> None:
    run, whole, rest = made_run(), list[EpochReport](), list[EpochReport]()
    train_epochs(run, 3, on_report=whole.append)
    starts: list[int] = []
    train_epochs(made_run(), 3, on_report=rest.append, on_epoch_start=lambda: starts.append(1), repeated_epochs=2)
    assert (len(rest), len(starts)) == (1, 1)
    assert (rest[0].epoch, rest[0].train_loss) == (3, whole[2].train_loss)


def test_a_loss_that_is_not_finite_is_divergence() -> None:
    reports: list[EpochReport] = []
    run = made_run(loss=lambda outputs, targets: outputs.sum() * torch.tensor(math.nan))
    assert train_epochs(run, 5, on_report=reports.append) == Stop("diverged")
    assert reports == []


def trained(task: Any = None, *, epochs: int = 2, **settings: Any) -> tuple[TrainingRun, EpochReport]:
    given = {"optimizer": "adam", "lr": 0.01, "batch_size": 16, **settings}
    run = TrainingRun(task or made_task(), TrainerSettings(**given), device=CpuDevice(), seed=1)
    reports = [run.run_epoch() for _ in range(epochs)]
    assert reports[-1] is not None
    return run, reports[-1]


def test_both_parts_are_scored_without_dropout_and_augmentation() -> None:
    def spoilt(batch: Any) -> Any:
        return torch.zeros_like(batch[0]), batch[1]

    run, last = trained(made_task(train=made_data(30), augment=spoilt))
    fit = summarize_training(run, last)
    assert fit is not None
    whole = run.evaluate(run.task.train)
    assert (fit.train.loss, fit.train.metrics) == (whole.loss, whole.metrics)
    assert fit.train.loss != pytest.approx(last.train_loss)
    assert (fit.epoch, fit.val.loss, fit.val.metrics) == (2, last.val_loss, last.metrics)
    assert (fit.train.num_samples, fit.val.num_samples) == (30, 45)


def test_no_more_training_samples_than_validation_has() -> None:
    run, last = trained()
    fit = summarize_training(run, last)
    assert fit is not None
    assert (fit.train.num_samples, fit.val.num_samples) == (45, 45)


def test_training_goes_on_as_if_nobody_had_looked() -> None:
    def task() -> Any:
        return made_task(train=Rows(transform=lambda row: row + 0.1 * torch.randn(6)))

    alone, _ = trained(task())
    first = alone.run_epoch()
    looked, last = trained(task())
    assert summarize_training(looked, last) is not None
    second = looked.run_epoch()
    assert first is not None
    assert second is not None
    assert (first.train_loss, first.val_loss) == (second.train_loss, second.val_loss)


def test_without_validation_there_is_no_summary() -> None:
    run, last = trained(made_task(val=None))
    assert summarize_training(run, last) is None


def test_weights_are_counted_layer_by_layer_and_biases_are_not() -> None:
    first, second, third = nn.Linear(4, 1), nn.Linear(3, 1), nn.Linear(2, 1)
    model = nn.Sequential(first, second, nn.BatchNorm1d(3), third)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[0.0, 1.0, 0.009, -0.02]]))
        second.weight.copy_(torch.tensor([[100.0, 0.9, 5.0]]))
        third.weight.zero_()
    assert count_weights(model) == WeightCounts(num_weights=9, num_zero=3, num_near_zero=5)
    third.weight.requires_grad_(False)
    assert count_weights(model) == WeightCounts(num_weights=7, num_zero=1, num_near_zero=3)


def test_l1_drives_weights_to_zero_exactly_where_it_is_decoupled() -> None:
    shares = {}
    for decoupled in (False, True):
        task = made_task(model=lambda: nn.Linear(6, 3))
        run, _ = trained(task, epochs=12, l1=0.3, decoupled=decoupled, optimizer="sgd", lr=0.05)
        shares[decoupled] = count_weights(run.model)
    plain = count_weights(trained(made_task(model=lambda: nn.Linear(6, 3)), epochs=12)[0].model)
    assert plain.num_zero == shares[False].num_zero == 0
    assert shares[True].zero_fraction > 0.3


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="inconsistent"):
        WeightCounts(num_weights=2, num_zero=2, num_near_zero=1)
