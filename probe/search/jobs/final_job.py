"""What the final fit is asked and what it answers: all that the search itself, which loads no PyTorch, sees of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from probe.device.select import DeviceSpec
from probe.loading.records import DataReference
from probe.search.jobs.jobs import ValidationSplit
from probe.search.records.search import FinalTraining, ParamValue, Score
from probe.seeds import derive_seed
from probe.tasks.source import TaskSource
from probe.training.records import EpochReport
from probe.units import format_value

UNLIKE_SHARE_OF_FALL, UNLIKE_SHARE_OF_LOSS = 0.05, 0.2
"""Seeds alone moved the last training loss of sound configurations by less than 1 % of its fall; where training had got stuck
for some epochs, it was 8 % and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalJob:
    source: TaskSource
    params: Mapping[str, ParamValue]
    seed: int
    split: ValidationSplit
    device: DeviceSpec
    epochs: int
    """The winner's best number of epochs; schedules are stretched over it."""
    metric: str
    weights_path: Path | None = None
    """Where the trained weights go; None: nowhere."""
    reference: DataReference | None = None
    """As of a RungJob."""
    num_threads: int = 1
    """PyTorch's threads: the final fit runs alone, so the cores that the trials shared are all its own."""


def final_seed(search_seed: int, number: int) -> int:
    """Of the final fit of trial `number`: it tells which winner a stored fit is of."""
    return derive_seed(search_seed, number, "final")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalOutcome:
    training: FinalTraining | None
    test: Score | None
    seconds: float
    warning: str | None = None
    """Why there is no fit or no score."""
    num_test_reads: int = 0
    """How often this search has scored the test part, this time included."""


def unlike_warning(trial: Sequence[EpochReport], again: Sequence[EpochReport]) -> str | None:
    """Where the winner, trained again from other initial weights, fits its training data far worse than it did before: what the
    search found depends on its seed, and the figure on test data is that of the worse training. None where all is well.

    `trial`: the winner's reports; `again`: the final fit's, which may be shorter.
    """
    if len(trial) < 2 or len(again) < 2:
        return None
    before, now = trial[min(len(trial), len(again)) - 1].train_loss, again[-1].train_loss
    fall = trial[0].train_loss - before
    if fall <= 0 or now - before <= max(UNLIKE_SHARE_OF_FALL * fall, UNLIKE_SHARE_OF_LOSS * abs(before)):
        return None
    return (
        f"The final fit ended at a training loss of {format_value(now)}, the trial that it repeats had {format_value(before)} "
        "after as many epochs: this configuration depends on its initial weights. Train it with a few more seeds "
        "(`probe train best.toml --seed N`), or lower its learning rate."
    )
