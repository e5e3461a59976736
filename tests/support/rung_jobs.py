"""Jobs of trials of a small task, run in this process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from probe.device.select import DeviceSpec
from probe.loading.records import ValidationSplit
from probe.search.jobs.jobs import JobStarted, RungJob, RungReport
from probe.search.jobs.trial import run_rung
from probe.search.records.objective import Objective
from probe.tasks.source import TargetSource
from probe.training.records import EpochReport

ACCURACY = Objective(metric="accuracy", mode="max")
FIVE_FOLDS = ValidationSplit(fraction=0.2, seed=7, num_folds=5)


def job(fault: str = "none", *, epochs_to: int = 2, **changes: Any) -> RungJob:
    made = RungJob(
        number=0,
        source=TargetSource(target="searched_task:blobs"),
        params={"width": 8, "fault": fault, "lr": 0.1, "batch_size": 16},
        seed=3,
        split=ValidationSplit(fraction=0.25, seed=7),
        device=DeviceSpec(kind="cpu"),
        planned_epochs=4,
        epochs_from=0,
        epochs_to=epochs_to,
        checkpoint_in=None,
        checkpoint_out=None,
    )
    return replace(made, **changes)


def ran(work: RungJob) -> tuple[RungReport, list[EpochReport]]:
    sent: list[Any] = []
    report = run_rung(work, send=sent.append)
    assert isinstance(sent[0], JobStarted)
    return report, sent[1:]


def numbers(reports: list[EpochReport]) -> list[tuple[float, float | None, dict[str, float]]]:
    return [(report.train_loss, report.val_loss, dict(report.metrics)) for report in reports]
