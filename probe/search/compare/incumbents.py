"""The best value found after any number of epochs: the curve by which `probe compare` compares searches.

Bergstra & Bengio 2012 and Li et al. 2018 plot this curve. The best configuration so far is called the incumbent (Hutter
et al. 2011, SMAC).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

from probe.search.records.comparison import Incumbent
from probe.search.records.objective import Objective
from probe.search.records.search import SearchResult


def incumbents_of_trials(result: SearchResult) -> tuple[Incumbent, ...]:
    """Return the curve of a search without stored events, as if its trials had run one after the other, after the
    probes."""
    trials = sorted(result.trials, key=lambda trial: trial.number)
    ends = list(accumulate((float(trial.epochs) for trial in trials), initial=result.spent.probe_epochs))[1:]
    found = [
        Incumbent(epochs=end, value=trial.value)
        for trial, end in zip(trials, ends, strict=True)
        if trial.value is not None
    ]
    return improving(found, Objective(metric=result.metric, mode=result.mode).better, result)


def value_after(curve: Sequence[Incumbent], epochs: float) -> float | None:
    """Return the best value after `epochs` are spent; None before the first one."""
    reached = [incumbent.value for incumbent in curve if incumbent.epochs <= epochs]
    return reached[-1] if reached else None


def epochs_to(curve: Sequence[Incumbent], target: float, *, mode: str) -> float | None:
    """Return the epochs spent until the curve reached `target`; None if it never did."""
    for incumbent in curve:
        if incumbent.value >= target if mode == "max" else incumbent.value <= target:
            return incumbent.epochs
    return None


def improving(
    found: Iterable[Incumbent], better: Callable[[float, float], bool], result: SearchResult
) -> tuple[Incumbent, ...]:
    """Return the improvements among `found`, followed by the result's best.

    Values better than that best are left out: a later epoch, or training on a larger fraction of the data, replaced
    them.
    """
    if result.best is None:
        return ()
    best = result.best.value
    curve: list[Incumbent] = []
    for incumbent in sorted(found, key=lambda incumbent: incumbent.epochs):
        if not better(incumbent.value, best) and (not curve or better(incumbent.value, curve[-1].value)):
            curve.append(incumbent)
    if not curve or curve[-1].value != best:
        curve.append(Incumbent(epochs=result.spent.epochs, value=best))
    return tuple(curve)
