"""What the folds of a k-fold validation say together. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean, stdev

from probe.search.records.objective import LOSS
from probe.training.records import EpochReport


def fold_name(fold: int) -> str:
    """Of a fold's part of a checkpoint."""
    return f"fold {fold}"


def mean_report(reports: Sequence[EpochReport]) -> EpochReport:
    """One epoch over all folds: means of losses and metrics, their standard deviation kept; seconds are summed. A metric that
    is undefined in one fold has no mean."""
    first = reports[0]
    if any(report.epoch != first.epoch for report in reports):
        raise ValueError(f"reports of one epoch were expected, not of {[report.epoch for report in reports]}")
    undefined = tuple(dict.fromkeys(name for report in reports for name in report.undefined))
    defined = [name for name in first.metrics if name not in undefined]
    metrics = {name: [report.metrics[name] for report in reports] for name in defined}
    losses = _measured(reports, lambda report: report.val_loss)
    shared = [name for name in first.train_metrics if all(name in report.train_metrics for report in reports)]
    steps = _measured(reports, lambda report: report.step_seconds)
    spreads = {**({} if losses is None else {LOSS: losses}), **metrics}
    return EpochReport(
        epoch=first.epoch,
        train_loss=fmean(report.train_loss for report in reports),
        val_loss=None if losses is None else fmean(losses),
        metrics={name: fmean(values) for name, values in metrics.items()},
        train_metrics={name: fmean(report.train_metrics[name] for report in reports) for name in shared},
        seconds=sum(report.seconds for report in reports),
        step_seconds=None if steps is None else fmean(steps),
        metric_spread={name: stdev(values) if len(values) > 1 else 0.0 for name, values in spreads.items()},
        undefined=undefined,
    )


def _measured(reports: Sequence[EpochReport], read: Callable[[EpochReport], float | None]) -> list[float] | None:
    values = [value for value in map(read, reports) if value is not None]
    return values if len(values) == len(reports) else None
