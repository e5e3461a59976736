"""Jobs for tests of executors."""

from __future__ import annotations

from pathlib import Path

from probe.device.select import DeviceSpec
from probe.loading.records import ValidationSplit
from probe.search.jobs.jobs import RungJob
from probe.tasks.source import TargetSource


def make_job(folder: Path, number: int, *, epochs_from: int = 0, epochs_to: int = 2, fault: str = "none") -> RungJob:
    return RungJob(
        number=number,
        source=TargetSource(target="searched_task:blobs"),
        params={"width": 4, "fault": fault, "lr": 0.1},
        seed=number,
        split=ValidationSplit(fraction=0.25, seed=7),
        device=DeviceSpec(kind="cpu"),
        planned_epochs=4,
        epochs_from=epochs_from,
        epochs_to=epochs_to,
        checkpoint_in=folder / f"{number}-{epochs_from}.pt" if epochs_from else None,
        checkpoint_out=folder / f"{number}-{epochs_to}.pt",
    )
