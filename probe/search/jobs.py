"""One rung of one trial: what goes to a worker and what comes back. Plain and picklable; no torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from probe.device.select import DeviceSpec
from probe.records import MemoryReading
from probe.search.records import ParamValue
from probe.training.records import EpochReport
from probe.zoo.source import TaskSource

Outcome = Literal["finished", "oom", "diverged", "failed", "crashed", "cancelled"]
"""failed: the user's code raised. crashed: the worker died. cancelled: the search ended before the rung did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How the validation part is held out: equal for all trials of a search."""

    share: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RungJob:
    """Train trial `number` from the end of epoch `epochs_from` to the end of epoch `epochs_to`."""

    number: int
    source: TaskSource
    params: Mapping[str, ParamValue]
    """All hyperparameters, the trainer's and the task's, constants included."""
    seed: int
    split: Split
    device: DeviceSpec
    planned_epochs: int
    """The full length, which schedules are stretched over however early the trial is stopped."""
    epochs_from: int
    epochs_to: int
    checkpoint_in: Path | None
    checkpoint_out: Path | None
    """None where nobody will go on from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungReport:
    """The end of a job as its worker saw it."""

    outcome: Outcome
    seconds: float
    memory: MemoryReading | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEpoch:
    """From an executor: a running job finished an epoch."""

    number: int
    report: EpochReport


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd:
    """From an executor: a job is over and its slot is free."""

    number: int
    report: RungReport


JobEvent = JobEpoch | JobEnd


def checkpoint_path(folder: Path, number: int, epochs: int) -> Path:
    return folder / f"trial-{number:05d}-epoch-{epochs:05d}.pt"
