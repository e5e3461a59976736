"""One rung of one trial: what goes to a worker and what comes back. Plain and picklable; no torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from probe.device.select import DeviceSpec
from probe.loading.records import DataReference
from probe.records import MemoryReading
from probe.search.jobs.outcomes import UNCONSTRAINED, Constraints
from probe.search.records.objective import Objective
from probe.search.records.search import ParamValue
from probe.search.schedulers.fidelity import WHOLE
from probe.tasks.source import TaskSource
from probe.training.records import EpochReport, TrainingSummary

Outcome = Literal[
    "finished", "early_stopped", "oom", "diverged", "infeasible", "timeout", "failed", "crashed", "cancelled"
]
"""early_stopped: nothing improved for as long as the recipe's patience. infeasible: it broke one of the recipe's constraints,
or the user's code raised `probe.Infeasible`.
timeout: the trial's time was up, and its worker was ended. failed: the user's code raised. crashed: the worker died.
cancelled: the search ended before the rung did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationSplit:
    """How the validation part is held out: equal for all trials of a search."""

    fraction: float
    seed: int
    num_folds: int = 1
    """More than one: k-fold, in which `fraction` means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungJob:
    """Train trial `number` from the end of epoch `epochs_from` to the end of epoch `epochs_to`."""

    number: int
    source: TaskSource
    params: Mapping[str, ParamValue]
    """All hyperparameters, the trainer's and the task's, constants included."""
    seed: int
    split: ValidationSplit
    device: DeviceSpec
    planned_epochs: int
    """The full length, which schedules are stretched over however early the trial is stopped."""
    epochs_from: int
    epochs_to: int
    checkpoint_in: Path | None
    checkpoint_out: Path | None
    """None where nobody will go on from it."""
    gradient_accumulation: int | None = None
    """Parts that a batch is split into because whole it did not fit; None: as `params` say."""
    data_thousandths: int = WHOLE
    """How much of the training part is trained on."""
    objective: Objective | None = None
    """What `patience` looks at."""
    patience: int | None = None
    earlier: tuple[EpochReport, ...] = ()
    """Reports up to `epochs_from`, for `patience`."""
    constraints: Constraints = UNCONSTRAINED
    max_seconds: float | None = None
    """What is left of the trial's time; the executor ends the job then."""
    trial_seconds: float | None = None
    """The whole of it."""
    peak_bytes: int | None = None
    """Predicted of the GPU, where jobs may share one; None where they do not, or nobody knows."""
    gpu: int | None = None
    """Which of the executor's GPUs it is to run on; None: any."""
    needs_fresh_process: bool = False
    """It failed in a process that had run other jobs, and is run again in one that has not."""
    reference: DataReference | None = None
    """What the data must be; None: nobody looked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungReport:
    """The end of a job as its worker saw it."""

    outcome: Outcome
    seconds: float
    memory: MemoryReading | None = None
    message: str | None = None
    next_gradient_accumulation: int | None = None
    """With outcome `oom`: into how many parts the batch can be split to try again; None: no further."""
    num_passes: int | None = None
    """Passes over the training part that were begun, over all folds; None where the worker did not live to say."""
    fit: TrainingSummary | None = None
    """With outcomes `finished` and `early_stopped`."""
    is_unsaved: bool = False
    """Its checkpoint could not be written, because the disk is full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted:
    """From a worker: it is there, and the time of the trial runs."""


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
