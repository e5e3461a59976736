"""Numbers read off the trials of a search, for text, tables and plots alike. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from probe.search.analysis.messages import reason
from probe.search.records.objective import Objective, epoch_value
from probe.search.records.search import Importance, SearchResult, TrialResult


def param_names(result: SearchResult) -> list[str]:
    """Searched hyperparameters in the order of the space, then others of the trials that are not constants."""
    names = [dimension.name for dimension in result.space]
    for trial in result.trials:
        names += [name for name in trial.params if name not in names and name not in result.constants]
    return names


def ranked(result: SearchResult) -> list[TrialResult]:
    """Trials by value, best first; then those without a value, by number."""
    sign = -1.0 if result.mode == "max" else 1.0
    return sorted(result.trials, key=lambda t: (t.value is None, sign * (t.value or 0.0), t.number))


def winner(result: SearchResult) -> TrialResult | None:
    """The best trial; None if there is none."""
    best = result.best
    return None if best is None else next(trial for trial in result.trials if trial.number == best.number)


def status_counts(result: SearchResult) -> dict[str, int]:
    """Number of trials by status, the most frequent first."""
    return dict(Counter(trial.status for trial in result.trials).most_common())


def objective_curve(result: SearchResult, trial: TrialResult) -> list[tuple[int, float]]:
    """Epoch and objective value of each report that has one."""
    objective = Objective(metric=result.metric, mode=result.mode)
    found = [(report.epoch, epoch_value(objective, report)) for report in trial.reports]
    return [(epoch, value) for epoch, value in found if value is not None]


def value_spread(result: SearchResult, trial: TrialResult) -> float | None:
    """In k-fold validation, the standard deviation of the trial's value between the folds; None otherwise."""
    objective = Objective(metric=result.metric, mode=result.mode)
    for report in trial.reports:
        if report.metric_spread is not None and epoch_value(objective, report) == trial.value:
            return report.metric_spread.get(result.metric)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Trials in the order in which they were suggested, with the epochs spent up to the end of each."""

    trials: tuple[TrialResult, ...]
    ends: tuple[float, ...]
    best: tuple[float | None, ...]
    """Best value so far among the trials that can win."""


def history(result: SearchResult) -> History:
    """Start with the epochs of the probes. Only complete trials can win, unless the best trial is a stopped one."""
    trials = sorted(result.trials, key=lambda trial: trial.number)
    ends = list(accumulate((float(trial.epochs) for trial in trials), initial=result.spent.probe_epochs))[1:]
    won = winner(result)
    only_complete = won is not None and won.status == "complete"
    better = max if result.mode == "max" else min
    best: list[float | None] = []
    for trial in trials:
        before = best[-1] if best else None
        counts = trial.value is not None and (trial.status == "complete" or not only_complete)
        values = [value for value in (before, trial.value if counts else None) if value is not None]
        best.append(better(values) if values else None)
    return History(trials=tuple(trials), ends=tuple(ends), best=tuple(best))


@dataclass(frozen=True, slots=True, kw_only=True)
class RungSpending:
    """Epochs that all trials together spent on a rung."""

    first_epoch: int
    last_epoch: int
    num_trials: int
    """Number of trials that reached `last_epoch`."""
    epochs: float
    """Epochs of the budget between the two that ended with a report."""


def spending_by_rung(result: SearchResult) -> list[RungSpending]:
    """The epochs of all trials by rung; for rungs over fractions of the data, both ends are that fraction in thousandths."""
    spending: list[RungSpending] = []
    floors = (0, *result.rungs)[: len(result.rungs)]
    costs = result.rung_costs or [rung - floor for floor, rung in zip(floors, result.rungs, strict=True)]
    left = {trial.number: trial.epochs - trial.lost_epochs for trial in result.trials}
    for trial in result.trials:
        left[trial.number] -= 0 if trial.refinement is None else trial.refinement.epochs
    for floor, rung, cost in zip(floors, result.rungs, costs, strict=True):
        paid = {number: min(epochs, cost) for number, epochs in left.items()}
        left = {number: epochs - paid[number] for number, epochs in left.items()}
        spending.append(
            RungSpending(
                first_epoch=floor + 1 if result.rung_unit == "epochs" else rung,
                last_epoch=rung,
                num_trials=sum(len(trial.rungs) > len(spending) for trial in result.trials),
                epochs=sum(paid.values()),
            )
        )
    return spending


def lost_epochs(trials: Sequence[TrialResult]) -> float:
    """Epochs spent without a report: those in which a trial diverged or its worker died."""
    return sum(trial.lost_epochs for trial in trials)


def ties(result: SearchResult) -> tuple[TrialResult, ...] | None:
    """Other complete trials whose value is within the 95 % interval of the best one, best first; None without an interval."""
    interval, best = result.best_interval, result.best
    if interval is None or best is None:
        return None
    others = [trial for trial in ranked(result) if trial.status == "complete" and trial.number != best.number]
    return tuple(one for one in others if one.value is not None and interval.low <= one.value <= interval.high)


def by_importance(result: SearchResult) -> list[tuple[str, Importance]]:
    """The hyperparameters that stand out, the largest fraction first."""
    return sorted((result.importance or {}).items(), key=lambda item: -item[1].share)


def failures(result: SearchResult) -> dict[str, list[int]]:
    """Numbers of the trials that failed or crashed by reason, the most frequent reason first."""
    found: dict[str, list[int]] = {}
    for trial in result.trials:
        if trial.status in ("failed", "crashed") and trial.message:
            found.setdefault(reason(trial.message), []).append(trial.number)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))
