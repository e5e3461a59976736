"""Means over the folds of a k-fold validation. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean, stdev

from probe.search.records.objective import LOSS
from probe.training.records import EpochReport, SplitScore, TrainingSummary, WeightCounts


def fold_name(fold: int) -> str:
    """The key of a fold's state in a checkpoint."""
    return f"fold {fold}"


def mean_report(reports: Sequence[EpochReport]) -> EpochReport:
    """The report of one epoch over all folds: means of losses and metrics with their standard deviation, and summed
    seconds. A metric that is undefined in one fold has no mean."""
    first = reports[0]
    if any(report.epoch != first.epoch for report in reports):
        raise ValueError(f"reports of one epoch were expected, not of {[report.epoch for report in reports]}")
    undefined = tuple(dict.fromkeys(name for report in reports for name in report.undefined))
    defined = [name for name in first.metrics if name not in undefined]
    metrics = {name: [report.metrics[name] for report in reports] for name in defined}
    losses = _known(reports, lambda report: report.val_loss)
    shared = [name for name in first.train_metrics if all(name in report.train_metrics for report in reports)]
    steps = _known(reports, lambda report: report.step_seconds)
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


def mean_summary(summaries: Sequence[TrainingSummary | None]) -> TrainingSummary | None:
    """The summary over all folds: mean scores and summed counts; None if one of the folds has no summary."""
    known = [summary for summary in summaries if summary is not None]
    if not known or len(known) < len(summaries):
        return None
    counts = [summary.weights for summary in known]
    return TrainingSummary(
        epoch=known[0].epoch,
        train=_mean_score([summary.train for summary in known]),
        val=_mean_score([summary.val for summary in known]),
        weights=WeightCounts(
            num_weights=sum(count.num_weights for count in counts),
            num_zero=sum(count.num_zero for count in counts),
            num_near_zero=sum(count.num_near_zero for count in counts),
        ),
    )


def _mean_score(scores: Sequence[SplitScore]) -> SplitScore:
    shared = [name for name in scores[0].metrics if all(name in score.metrics for score in scores)]
    return SplitScore(
        loss=fmean(score.loss for score in scores),
        metrics={name: fmean(score.metrics[name] for score in scores) for name in shared},
        num_samples=sum(score.num_samples for score in scores),
    )


def _known(reports: Sequence[EpochReport], read: Callable[[EpochReport], float | None]) -> list[float] | None:
    """The value of each report; None if one of them has none."""
    values = [value for value in map(read, reports) if value is not None]
    return values if len(values) == len(reports) else None
