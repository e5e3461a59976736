"""Records of one rung of a trial: the job that is sent to a worker and its report. Imports no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from probe.device.select import DeviceSpec
from probe.loading.records import DataReference, ValidationSplit
from probe.records import MemoryReading
from probe.search.jobs.stopping import UNCONSTRAINED, Constraints
from probe.search.records.objective import Objective
from probe.search.records.search import ParamValue
from probe.search.schedulers.fidelity import WHOLE
from probe.tasks.source import TaskSource
from probe.training.records import EpochReport, TrainingSummary

Outcome = Literal[
    "finished", "early_stopped", "oom", "diverged", "infeasible", "timeout", "failed", "crashed", "cancelled"
]
"""How a job ended.

finished: trained to the end of the rung. early_stopped: no improvement for the recipe's patience. oom: out of memory.
diverged: a loss was not finite. infeasible: it broke a constraint of the recipe, or the user's code raised `probe.Infeasible`.
timeout: the trial's time limit was reached, and its worker was ended. failed: the user's code raised. crashed: the worker died.
cancelled: the search ended first.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungJob:
    """Train trial `number` from the end of epoch `epochs_from` to the end of epoch `epochs_to`."""

    number: int
    source: TaskSource
    params: Mapping[str, ParamValue]
    """All hyperparameters of the trainer and the task, constants included."""
    seed: int
    split: ValidationSplit
    device: DeviceSpec
    planned_epochs: int
    """Length of a whole training, which learning-rate schedules span even if the trial is stopped early."""
    epochs_from: int
    epochs_to: int
    checkpoint_in: Path | None
    checkpoint_out: Path | None
    """File for the checkpoint; None if the trial cannot be continued."""
    gradient_accumulation: int | None = None
    """Micro-batches per batch after running out of memory; None to use `params`."""
    data_thousandths: int = WHOLE
    """Thousandths of the training split to train on."""
    objective: Objective | None = None
    """The objective that `patience` applies to."""
    patience: int | None = None
    """Epochs without improvement after which the job stops; None for no limit."""
    earlier: tuple[EpochReport, ...] = ()
    """Reports up to `epochs_from`, for `patience`."""
    constraints: Constraints = UNCONSTRAINED
    max_seconds: float | None = None
    """Remaining time of the trial, after which the executor ends the job."""
    trial_seconds: float | None = None
    """Time limit of the whole trial."""
    peak_bytes: int | None = None
    """Predicted peak memory on the GPU; None if jobs do not share GPUs, or if it is unknown."""
    gpu: int | None = None
    """Index of the executor's GPU to run on; None for any."""
    needs_fresh_process: bool = False
    """Whether to use a new process, because the job failed in one that had run other jobs."""
    reference: DataReference | None = None
    """The data that the search was started with; None to skip the check."""


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
    """Sent by a worker when it starts a job, which starts the time limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEpoch:
    """Event of an executor: a running job completed an epoch."""

    number: int
    report: EpochReport


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd:
    """Event of an executor: a job ended and its slot is free."""

    number: int
    report: RungReport


JobEvent = JobEpoch | JobEnd


def checkpoint_path(folder: Path, number: int, epochs: int) -> Path:
    """The file for the checkpoint of a trial after some epochs."""
    return folder / f"trial-{number:05d}-epoch-{epochs:05d}.pt"
