"""The best value so far against the epochs spent: how well a search had done at any budget. Pure.

In an anytime comparison of searches this curve is what counts (Bergstra & Bengio 2012 and Li et al. 2018 plot it); the best
configuration so far is called the incumbent (Hutter et al. 2011, SMAC).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

from probe.search.records.comparison import Incumbent
from probe.search.records.objective import Objective
from probe.search.records.search import SearchResult


def incumbents_of_trials(result: SearchResult) -> tuple[Incumbent, ...]:
    """The curve where no events are known: trials laid end to end in the order of their numbers, the probes first."""
    trials = sorted(result.trials, key=lambda trial: trial.number)
    ends = list(accumulate((float(trial.epochs) for trial in trials), initial=result.spent.probe_epochs))[1:]
    found = [
        Incumbent(epochs=end, value=trial.value)
        for trial, end in zip(trials, ends, strict=True)
        if trial.value is not None
    ]
    return improving(found, Objective(metric=result.metric, mode=result.mode).better, result)


def value_after(curve: Sequence[Incumbent], epochs: float) -> float | None:
    """The best value when that many epochs are spent; None before the first."""
    reached = [incumbent.value for incumbent in curve if incumbent.epochs <= epochs]
    return reached[-1] if reached else None


def epochs_to(curve: Sequence[Incumbent], target: float, *, mode: str) -> float | None:
    """Epochs spent until the curve was at least as good as `target`; None where it never was."""
    for incumbent in curve:
        if incumbent.value >= target if mode == "max" else incumbent.value <= target:
            return incumbent.epochs
    return None


def improving(
    found: Iterable[Incumbent], better: Callable[[float, float], bool], result: SearchResult
) -> tuple[Incumbent, ...]:
    """Those of `found` that beat all before them and are no better than the best in the end, which comes last.

    A value that later epochs took back (the last epoch counts, or a larger share of the data did worse) can lie beyond it.
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
