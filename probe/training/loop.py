"""The training loop of trials, of the final training and of `probe train`: epochs until the end, divergence or a stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from probe.training.records import EpochReport
from probe.training.run import TrainingRun

StopReason = Literal["finished", "diverged", "early_stopped", "infeasible"]


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a training ended."""

    reason: StopReason
    """finished: all epochs were trained. diverged: a loss was not finite. The other two are decided by a stop condition."""
    message: str | None = None


StopCondition = Callable[[EpochReport], Stop | None]


def train_epochs(
    run: TrainingRun,
    epochs: int,
    *,
    on_report: Callable[[EpochReport], object],
    stop_condition: StopCondition | None = None,
    on_epoch_start: Callable[[], object] | None = None,
    repeated_epochs: int = 0,
) -> Stop:
    """Train `run` until `epochs` epochs are done in total, and report each of them.

    Args:
        epochs: number of the last epoch, counted from the start of the run.
        on_report: called with the report of each epoch.
        stop_condition: called after `on_report`; ends the training if it returns a Stop.
        on_epoch_start: called before each epoch.
        repeated_epochs: the first epochs, which are trained again to get back a lost checkpoint: without any of these calls.

    Exceptions pass, those about a lack of memory included (see `probe.device.guard`).
    """
    while run.epoch < epochs:
        is_repeated = run.epoch < repeated_epochs
        if on_epoch_start is not None and not is_repeated:
            on_epoch_start()
        report = run.run_epoch()
        if report is None:
            return Stop("diverged")
        if is_repeated:
            continue
        on_report(report)
        stop = None if stop_condition is None else stop_condition(report)
        if stop is not None:
            return stop
    return Stop("finished")
