"""The training loop: reports, stop conditions and repeated epochs."""

from __future__ import annotations

import math
from typing import Any

import torch
from made_tasks import made_task

from probe.device.cpu import CpuDevice
from probe.training.loop import Stop, train_epochs
from probe.training.records import EpochReport
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
