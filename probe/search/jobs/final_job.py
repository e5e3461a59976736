"""Job and outcome of the final training, as the search sees them: this module imports no PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from probe.files import move_file, write_error
from probe.search.jobs.jobs import TrainingJob
from probe.search.records.search import FinalTraining, Score
from probe.seeds import derive_seed
from probe.training.records import EpochReport
from probe.units import format_value

UNLIKE_FRACTION_OF_FALL, UNLIKE_FRACTION_OF_LOSS = 0.05, 0.2
"""Between seeds, the last training loss of sound configurations differed by less than 1 % of its decrease. Of trainings that
made no progress for some epochs, it differed by 8 % and more."""


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
    if (
        source is None
        or target is None
        or source == target
        or outcome.training is None
        or outcome.training.weights_file is None
    ):
        return outcome
    try:
        move_file(source, target)
    except OSError as error:
        warning = write_error("file of weights", target, error).message
        return replace(outcome, training=replace(outcome.training, weights_file=None), warning=warning)
    return outcome


def unlike_warning(trial: Sequence[EpochReport], again: Sequence[EpochReport]) -> str | None:
    """A warning if the final training fits its training data far worse than the winner did; None otherwise.

    The result of the search then depends on the initial weights, and the test score is that of the worse training.

    Args:
        trial: the winner's reports.
        again: the reports of the final training, which may be shorter.
    """
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
