"""Compares searches by their results: groups of runs, and the best value after any number of epochs. Pure.

Bergstra & Bengio 2012 and Li et al. 2018 plot this curve. The best configuration so far is called the incumbent (Hutter et al.
2011, SMAC).
"""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from probe.errors import UsageError
from probe.search.records.comparison import ComparedGroup, ComparedRun, Incumbent, SearchComparison, Spread
from probe.search.records.objective import Objective
from probe.search.records.search import SearchResult
from probe.version import VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSearch:
    """A search to compare, named by its folder."""

    folder: str
    result: SearchResult
    curve: tuple[Incumbent, ...]
    is_exact: bool = True


def compare_searches(
    searches: Sequence[NamedSearch], *, argv: Sequence[str] = (), started_at: str = ""
) -> SearchComparison:
    """Compare searches. Runs of one recipe that differ only in their seed form a group. Raises UsageError for fewer
    than two runs, and for runs with different objectives."""
    _check(searches)
    first = searches[0].result
    values = [search.result.best.value for search in searches if search.result.best is not None]
    target = None if not values else min(values) if first.mode == "max" else max(values)
    titles = _titles(searches)
    runs = tuple(
        _run(search, group=titles[_group_key(search.result)], target=target, mode=first.mode) for search in searches
    )
    groups = tuple(_group(title, [run for run in runs if run.group == title]) for title in titles.values())
    return SearchComparison(
        meta=replace(
            first.meta,
            argv=tuple(argv),
            started_at=started_at or first.meta.started_at,
            probe_version=VERSION,
            recipe_hash=None,
        ),
        metric=first.metric,
        mode=first.mode,
        target=target,
        runs=runs,
        groups=groups,
        warnings=tuple(_warnings(searches)),
    )


def _check(searches: Sequence[NamedSearch]) -> None:
    if len(searches) < 2:
        raise UsageError(
            f"A comparison needs at least two runs, not {len(searches)}.",
            hint="Give the folders of two or more searches. `probe report RUN` shows a single one.",
        )
    first = searches[0]
    for other in searches[1:]:
        goals = [f"{search.result.mode} {search.result.metric}" for search in (first, other)]
        if goals[0] != goals[1]:
            raise UsageError(
                f"Runs with different objectives cannot be compared: {first.folder} has {goals[0]}, "
                f"{other.folder} has {goals[1]}.",
                hint="Compare runs whose recipes have the same objective, metric and mode.",
            )


def _run(search: NamedSearch, *, group: str, target: float | None, mode: str) -> ComparedRun:
    result = search.result
    return ComparedRun(
        folder=search.folder,
        group=group,
        seed=result.meta.seed,
        task=result.task,
        sampler=result.sampler,
        scheduler=result.scheduler,
        stopped_by=result.stopped_by,
        num_trials=len(result.trials),
        epochs=result.spent.epochs,
        probe_epochs=result.spent.probe_epochs,
        seconds=result.spent.seconds,
        value=None if result.best is None else result.best.value,
        test=result.test,
        curve=search.curve,
        is_exact=search.is_exact,
        epochs_to_target=None if target is None else epochs_to(search.curve, target, mode=mode),
    )


def _group(title: str, runs: Sequence[ComparedRun]) -> ComparedGroup:
    reached = [run.epochs_to_target for run in runs if run.epochs_to_target is not None]
    num_trials, epochs = spread([float(run.num_trials) for run in runs]), spread([run.epochs for run in runs])
    if num_trials is None or epochs is None:
        raise ValueError("a group has at least one run")
    return ComparedGroup(
        title=title,
        sampler=runs[0].sampler,
        scheduler=runs[0].scheduler,
        num_runs=len(runs),
        num_trials=num_trials,
        epochs=epochs,
        value=spread([run.value for run in runs if run.value is not None]),
        test=spread([run.test.value for run in runs if run.test is not None]),
        epochs_to_target=spread(reached) if len(reached) == len(runs) else None,
    )


def spread(values: Sequence[float]) -> Spread | None:
    """Return mean, standard deviation and range of `values`; None if there are none."""
    if not values:
        return None
    return Spread(
        mean=statistics.fmean(values),
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        low=min(values),
        high=max(values),
    )


def _plain(result: SearchResult) -> dict[str, Any]:
    """The recipe as it ran; empty if it cannot be read."""
    try:
        return tomllib.loads(result.recipe)
    except tomllib.TOMLDecodeError:
        return {}


def _group_key(result: SearchResult) -> str:
    """A key that is equal for runs whose recipes, command-line changes included, differ only in the seed."""
    plain = _plain(result)
    search = plain.get("search")
    if isinstance(search, dict):
        search.pop("seed", None)
    return repr((result.name, result.sampler, result.scheduler, result.rungs, plain or result.recipe))


def _titles(searches: Sequence[NamedSearch]) -> dict[str, str]:
    """Key of a group -> its title: the recipe's name, extended to distinguish it from other groups of that name."""
    firsts: dict[str, NamedSearch] = {}
    for search in searches:
        firsts.setdefault(_group_key(search.result), search)
    parts: tuple[Callable[[NamedSearch], str], ...] = (
        lambda search: search.result.name,
        lambda search: f"{search.result.name}, {search.result.sampler}",
        lambda search: f"{search.result.name}, {search.result.sampler}, {search.result.scheduler}",
        lambda search: f"{search.result.name} ({search.folder})",
    )
    titles: dict[str, str] = {}
    for key, search in firsts.items():
        for title_of in parts:
            same = [other for other in firsts.values() if title_of(other) == title_of(search)]
            if len(same) == 1:
                break
        titles[key] = title_of(search)
    return titles


def _warnings(searches: Sequence[NamedSearch]) -> list[str]:
    found = []
    for what, read in (("data", _data), ("validation", _validation)):
        kinds = list(dict.fromkeys(read(_plain(search.result)) for search in searches))
        if len(kinds) > 1:
            how = {"data": "trained on different data", "validation": "validated differently"}[what]
            found.append(f"The runs were {how} ({'; '.join(kinds)}), so their values may not be comparable.")
    unfinished = [s.folder for s in searches if s.result.stopped_by in ("interrupted", "failures")]
    if unfinished:
        found.append(f"Stopped early, so more epochs might have improved the result: {', '.join(unfinished)}.")
    if any(not search.is_exact for search in searches):
        without = ", ".join(search.folder for search in searches if not search.is_exact)
        found.append(f"No readable search.sqlite, so trials are assumed to have run one after the other: {without}.")
    return found


def _data(plain: Mapping[str, Any]) -> str:
    task = plain.get("task", {})
    size = f" at {task['image_size']} x {task['image_size']}" if "image_size" in task else ""
    return str(task.get("data") or task.get("target")) + size


def _validation(plain: Mapping[str, Any]) -> str:
    given = plain.get("task", {}).get("validation", {})
    return ", ".join(f"{name} {value}" for name, value in given.items()) or "as the task says"


def incumbents_of_trials(result: SearchResult) -> tuple[Incumbent, ...]:
    """Return the curve of a search without stored events, as if its trials had run one after the other."""
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
    """Return the improvements among `found`, followed by the result's best. Better values are left out: a later epoch,
    or training on a larger fraction of the data, replaced them."""
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
