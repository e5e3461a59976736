"""What a search's trials say, worked out once for text, tables and plots. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from probe.search.objective import LOSS, Objective, epoch_value
from probe.search.records import SearchResult, TrialResult


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


def near_ties(result: SearchResult) -> int | None:
    """Other complete trials within half the test interval's width of the best; None where no interval is known."""
    test, best = result.test, result.best
    if test is None or best is None or test.low is None or test.high is None or test.metric != result.metric:
        return None
    margin = (test.high - test.low) / 2
    return sum(
        trial.status == "complete"
        and trial.number != best.number
        and trial.value is not None
        and abs(trial.value - best.value) <= margin
        for trial in result.trials
    )
