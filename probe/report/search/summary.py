"""What a search's trials say, worked out once for text, tables and plots. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from probe.report.shared.common import metric_text
from probe.search.analysis.reasons import reason
from probe.search.records.importance import MIN_COMPARED_TRIALS, Importance
from probe.search.records.objective import LOSS, Objective, epoch_value
from probe.search.records.search import SearchResult, TrialResult
from probe.units import format_count, format_percent


def param_names(result: SearchResult) -> list[str]:
    """Searched hyperparameters in the space's order, then any other that trials have and that is no constant."""
    names = [dimension.name for dimension in result.space]
    for trial in result.trials:
        names += [name for name in trial.params if name not in names and name not in result.constants]
    return names


def ranked(result: SearchResult) -> list[TrialResult]:
    """Trials by value, best first; those without one behind, by number."""
    sign = -1.0 if result.mode == "max" else 1.0
    valued = sorted(
        (trial for trial in result.trials if trial.value is not None),
        key=lambda trial: (sign * (trial.value or 0.0), trial.number),
    )
    return valued + sorted((trial for trial in result.trials if trial.value is None), key=lambda trial: trial.number)


def winner(result: SearchResult) -> TrialResult | None:
    best = result.best
    return None if best is None else next(trial for trial in result.trials if trial.number == best.number)


def status_counts(result: SearchResult) -> dict[str, int]:
    """Status -> number of trials, the commonest first."""
    return dict(Counter(trial.status for trial in result.trials).most_common())


def objective_curve(result: SearchResult, trial: TrialResult) -> list[tuple[int, float]]:
    """Epoch and objective of each report that has one."""
    objective = Objective(metric=result.metric, mode=result.mode)
    found = [(report.epoch, epoch_value(objective, report)) for report in trial.reports]
    return [(epoch, value) for epoch, value in found if value is not None]


def value_spread(result: SearchResult, trial: TrialResult) -> float | None:
    """In k-fold validation, the standard deviation between the folds of what is the trial's value; None otherwise."""
    objective = Objective(metric=result.metric, mode=result.mode)
    for report in trial.reports:
        if report.metric_spread is not None and epoch_value(objective, report) == trial.value:
            return report.metric_spread.get(result.metric)
    return None


def objective_name(result: SearchResult) -> str:
    return "validation loss" if result.metric == LOSS else f"validation {result.metric}"


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Trials in the order in which they were proposed, laid end to end: x is the epochs spent up to and with each."""

    trials: tuple[TrialResult, ...]
    ends: tuple[float, ...]
    best: tuple[float | None, ...]
    """Best value so far, among the trials that can win."""


def history(result: SearchResult) -> History:
    """The probes' epochs come first. Only complete trials can win, unless there is none or a stopped one did."""
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
    first_epoch: int
    last_epoch: int
    num_trials: int
    """That reached `last_epoch`."""
    epochs: float
    """Of the budget, spent between the two with a report, all trials together."""


def spending_by_rung(result: SearchResult) -> list[RungSpending]:
    """Where the trials' epochs went, rung by rung. Where the rungs are shares of the data, both ends are that share in
    thousandths."""
    spending: list[RungSpending] = []
    floors = (0, *result.rungs)[: len(result.rungs)]
    costs = result.rung_costs or [rung - floor for floor, rung in zip(floors, result.rungs, strict=True)]
    left = {trial.number: trial.epochs - trial.lost_epochs - _gradient_epochs(trial) for trial in result.trials}
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


def _gradient_epochs(trial: TrialResult) -> float:
    return 0 if trial.refinement is None else trial.refinement.epochs


def lost_epochs(trials: Sequence[TrialResult]) -> float:
    """Epochs spent without a report: the one in which a trial diverged, or those a dead worker took with it."""
    return sum(trial.lost_epochs for trial in trials)


def ties(result: SearchResult) -> tuple[TrialResult, ...] | None:
    """Other complete trials whose value lies within the 95 % interval of the best one's, best first; None where no interval
    is known."""
    interval, best = result.best_interval, result.best
    if interval is None or best is None:
        return None
    return tuple(
        trial
        for trial in ranked(result)
        if trial.status == "complete"
        and trial.number != best.number
        and trial.value is not None
        and interval.low <= trial.value <= interval.high
    )


def ties_text(result: SearchResult) -> str | None:
    """How many trials tie with the best one, and by which interval; None where no interval is known."""
    tied, interval = ties(result), result.best_interval
    if tied is None or interval is None or result.best is None or len(result.trials) < 2:
        return None
    samples = "" if interval.num_samples is None else f", {format_count(interval.num_samples)} validation samples"
    basis = samples if interval.rule == "wilson" else f" over {result.num_folds} folds"
    within = (
        f"the 95 % interval of its validation {result.metric}, {metric_text(result.metric, interval.low)} to "
        f"{metric_text(result.metric, interval.high)}{basis}"
    )
    if not tied:
        return f"no other complete trial ties with trial {result.best.number}: none lies within {within}"
    count = "1 other complete trial ties" if len(tied) == 1 else f"{format_count(len(tied))} other complete trials tie"
    return f"{count} with trial {result.best.number}: within {within}"


def tried_text(result: SearchResult) -> str:
    """What was tried completely where a search ended with nothing left to try. A grid is not all of a space with ranges."""
    if result.sampler == "grid":
        return "every configuration of the grid was tried"
    return "the only configuration was tried" if not result.space else "every configuration of the space was tried"


def optimism_text(result: SearchResult) -> str | None:
    """What the best value was chosen over, which makes it optimistic; None where it was not chosen."""
    epochs = "at its best epoch" if result.reduce == "best" else "at its last epoch"
    if len(result.trials) > 1:
        return f"the best of {format_count(len(result.trials))} trials, each {epochs}"
    return "the best of the trial's epochs" if result.reduce == "best" and result.best is not None else None


def by_importance(result: SearchResult) -> list[tuple[str, Importance]]:
    """The hyperparameters that stand out, the largest share first."""
    return sorted((result.importance or {}).items(), key=lambda item: -item[1].share)


def share_text(found: Importance) -> str:
    """`52 %`, or `40 % (in the 12 of 40 trials that have it)`."""
    share = format_percent(found.share, decimals=0)
    if not found.is_partial:
        return share
    return (
        f"{share} (in the {format_count(found.num_trials)} of {format_count(found.num_compared)} trials that have it)"
    )


def importance_text(result: SearchResult) -> str | None:
    """Which hyperparameters matter, or why that is not said; None where nothing was searched."""
    if result.importance:
        most = by_importance(result)[:3]
        return "matters most: " + ", ".join(f"{name} {share_text(found)}" for name, found in most)
    if not result.space or not result.trials:
        return None
    if result.importance is None:
        return f"too few trials to tell which hyperparameters matter: at least {MIN_COMPARED_TRIALS} are needed"
    return "no hyperparameter stands out above chance"


def failures(result: SearchResult) -> dict[str, list[int]]:
    """Why trials failed or crashed -> which ones, the commonest reason first."""
    found: dict[str, list[int]] = {}
    for trial in result.trials:
        if trial.status in ("failed", "crashed") and trial.message:
            found.setdefault(reason(trial.message), []).append(trial.number)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))
