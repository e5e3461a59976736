"""The jobs of workers, which train a trial to its next rung or the winner again, and their reports. Imports no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from probe.device.select import DeviceSpec
from probe.files import move_file, write_error
from probe.loading.records import DataReference, ValidationSplit
from probe.search.jobs.stopping import UNCONSTRAINED, Constraints
from probe.search.records.measurements import Measurements
from probe.search.records.objective import Objective
from probe.search.records.search import FinalTraining, ParamValue, Score
from probe.search.schedulers.fidelity import WHOLE
from probe.seeds import derive_seed
from probe.tasks.source import TaskSource
from probe.training.records import EpochReport
from probe.units import format_value

Outcome = Literal[
    "finished",
    "early_stopped",
    "oom",
    "host_oom",
    "diverged",
    "infeasible",
    "timeout",
    "failed",
    "crashed",
    "cancelled",
]
"""How a job ended.

early_stopped: no improvement for the recipe's patience. host_oom: signal 9 killed the worker, most likely because the machine
ran out of memory. infeasible: it broke a constraint of the recipe, or the user's code raised `probe.Infeasible`. timeout: the
trial's time limit was reached, and its worker was killed. failed: the user's code raised. crashed: the worker died of something
else than signal 9. cancelled: the search ended first.
"""
UNLIKE_FRACTION_OF_FALL, UNLIKE_FRACTION_OF_LOSS = 0.05, 0.2
"""Between seeds, the last training loss of sound configurations differed by less than 1 % of its decrease. Of trainings that
made no progress for some epochs, it differed by 8 % and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """What every job that trains has in common."""

    source: TaskSource
    params: Mapping[str, ParamValue]
    """All hyperparameters of the trainer and the task, constants included."""
    seed: int
    split: ValidationSplit
    device: DeviceSpec
    reference: DataReference | None = None
    """Fingerprints that the data must have; None to skip the check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungJob(TrainingJob):
    """Train trial `number` from the end of epoch `epochs_from` to the end of epoch `epochs_to`."""

    number: int
    planned_epochs: int
    """Epochs of a full training, which learning rate schedules span even if the trial is stopped early."""
    epochs_from: int
    epochs_to: int
    checkpoint_in: Path | None
    checkpoint_out: Path | None
    """File for the new checkpoint; None if no job will continue from it."""
    gradient_accumulation: int | None = None
    """Micro-batches per batch, after whole batches ran out of memory; None to use `params`."""
    data_thousandths: int = WHOLE
    """Fraction of the training split to train on, in thousandths."""
    objective: Objective | None = None
    """The objective that `patience` applies to."""
    patience: int | None = None
    """Epochs without improvement after which training stops; None for no limit."""
    earlier: tuple[EpochReport, ...] = ()
    """Reports of the epochs up to `epochs_from`, which count for `patience`."""
    constraints: Constraints = UNCONSTRAINED
    max_seconds: float | None = None
    """Rest of the trial's time limit, after which the executor ends the job; None for no limit."""
    trial_seconds: float | None = None
    """The whole time limit of the trial."""
    peak_bytes: int | None = None
    """Predicted peak memory on the GPU, if jobs may share one; None if they do not, or if it is unknown."""
    gpu: int | None = None
    """Index of the executor's GPU to run on; None for any."""
    needs_fresh_process: bool = False
    """True after a failure in a process that had run other jobs: the job is repeated in a new process."""
    needs_room: bool = False
    """True if the idle workers of its GPU have to end first, because each of them holds a context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RungReport(Measurements):
    """How a job ended and what it measured. It is stored in the search's events as it is."""

    outcome: Outcome
    message: str | None = None
    next_gradient_accumulation: int | None = None
    """After outcome `oom`: micro-batches per batch to try next; None if each is a single sample."""
    num_passes: int | None = None
    """Passes over the training split that were started, over all folds; None if the worker died."""
    is_unsaved: bool = False
    """True if the checkpoint could not be written because the disk is full."""
    is_crowded: bool = False
    """After outcome `oom`: True if other workers, or what an earlier trial left in the process, used memory of the same GPU,
    so that the trial may fit alone."""
    held_bytes: int = 0
    """Memory of the GPU that tensors of the process use after the job; its context is not included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted:
    """From a worker: the job has started, and so has its time limit."""

    offered_bytes: int | None = None
    """Memory of the GPU that other processes did not use when the worker opened it; None if it is not a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEpoch:
    """From an executor: a running job completed an epoch."""

    number: int
    report: EpochReport


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd:
    """From an executor: a job ended and its slot is free."""

    number: int
    report: RungReport


JobEvent = JobEpoch | JobEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalJob(TrainingJob):
    """Train a configuration again and score it on the test split."""

    epochs: int
    """The winner's best number of epochs; learning-rate schedules span it."""
    metric: str
    weights_path: Path | None = None
    """File for the trained weights; None to keep no weights."""
    num_threads: int = 1
    """Number of PyTorch threads. The final training runs alone, so it may use the cores of all trials."""


def final_seed(search_seed: int, number: int) -> int:
    """The seed of the final training of trial `number`. It identifies the winner that a stored final training belongs to."""
    return derive_seed(search_seed, number, "final")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalOutcome:
    """The result of the final training."""

    training: FinalTraining | None
    test: Score | None
    seconds: float
    warning: str | None = None
    """The reason if the training or the score is missing."""
    num_test_reads: int = 0
    """How often this search has scored the test split, this time included."""


def moved_weights(outcome: FinalOutcome, source: Path | None, target: Path | None) -> FinalOutcome:
    """The outcome after its file of weights was moved from `source` to `target`; with a warning if that failed."""
    if source is None or target is None or source == target:
        return outcome
    if outcome.training is None or outcome.training.weights_file is None:
        return outcome
    try:
        move_file(source, target)
    except OSError as error:
        warning = write_error("file of weights", target, error).message
        return replace(outcome, training=replace(outcome.training, weights_file=None), warning=warning)
    return outcome


def unlike_warning(trial: Sequence[EpochReport], again: Sequence[EpochReport]) -> str | None:
    """A warning if the final training (`again`) fits its training data far worse than the winner did; None otherwise.
    The result then depends on the initial weights, and the test score is that of the worse training."""
    if len(trial) < 2 or len(again) < 2:
        return None
    before, now = trial[min(len(trial), len(again)) - 1].train_loss, again[-1].train_loss
    fall = trial[0].train_loss - before
    if fall <= 0 or now - before <= max(UNLIKE_FRACTION_OF_FALL * fall, UNLIKE_FRACTION_OF_LOSS * abs(before)):
        return None
    return (
        f"The final training ended at a training loss of {format_value(now)}, but the trial that it repeats had "
        f"{format_value(before)} after as many epochs: this configuration depends on its initial weights. Train it with a few "
        "more seeds (`probe train best.toml --seed N`), or lower its learning rate."
    )
