"""What a comparison of searches says, worked out once for the report and the terminal. Pure; plain text in its cells."""

from __future__ import annotations

import math
from dataclasses import dataclass

from probe.report.shared.common import metric_text
from probe.search.compare.incumbents import value_after
from probe.search.records.comparison import ComparedGroup, Incumbent, SearchComparison, Spread
from probe.search.records.objective import LOSS
from probe.search.records.search import Score
from probe.units import format_count

NONE = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanCurve:
    """A group's best value against epochs, from where all its runs have one."""

    epochs: tuple[float, ...]
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]


def goal_name(result: SearchComparison) -> str:
    return "validation loss" if result.metric == LOSS else f"validation {result.metric}"


def has_groups(result: SearchComparison) -> bool:
    """Whether some group has several runs, so that a row is a mean."""
    return any(group.num_runs > 1 for group in result.groups)


def header(result: SearchComparison) -> tuple[str, ...]:
    runs = ("runs",) if has_groups(result) else ()
    return ("search", *runs, "sampler", "scheduler", *_number_header(result))


def _number_header(result: SearchComparison) -> tuple[str, ...]:
    target = "the target" if result.target is None else metric_text(result.metric, result.target)
    return (
        "trials",
        "epochs",
        f"best {goal_name(result)}",
        f"test {_test_metric(result)}".rstrip(),
        f"epochs to {target}",
    )


def _test_metric(result: SearchComparison) -> str:
    """Of all the runs that were scored; empty where there is none, or more than one."""
    metrics = {run.test.metric for run in result.runs if run.test is not None}
    return metrics.pop() if len(metrics) == 1 else ""


def group_rows(result: SearchComparison) -> list[tuple[str, ...]]:
    """One row for each group; of several runs their mean and, after ±, their standard deviation."""
    rows = []
    for group in result.groups:
        runs = (format_count(group.num_runs),) if has_groups(result) else ()
        rows.append(
            (
                group.title,
                *runs,
                group.sampler,
                group.scheduler,
                _count_text(group.num_trials),
                _count_text(group.epochs),
                spread_text(result.metric, group.value),
                _group_test(result, group),
                _count_text(group.epochs_to_target, spread=True),
            )
        )
    return rows


def run_header(result: SearchComparison) -> tuple[str, ...]:
    return ("search", "seed", "folder", *_number_header(result))


def run_rows(result: SearchComparison) -> list[tuple[str, ...]]:
    """One row for each run."""
    return [
        (
            run.group,
            str(run.seed),
            run.folder,
            format_count(run.num_trials),
            format_count(run.epochs),
            NONE if run.value is None else metric_text(result.metric, run.value),
            score_text(run.test),
            NONE if run.epochs_to_target is None else format_count(run.epochs_to_target),
        )
        for run in result.runs
    ]


def score_text(test: Score | None) -> str:
    if test is None:
        return NONE
    text = metric_text(test.metric, test.value)
    if test.low is None or test.high is None:
        return text
    return f"{text} ({metric_text(test.metric, test.low)} to {metric_text(test.metric, test.high)})"


def spread_text(metric: str, value: Spread | None) -> str:
    """`98.21 %`, `98.21 ± 0.34 %`, `0.1234 ± 0.0056`."""
    if value is None:
        return NONE
    text = metric_text(metric, value.mean)
    if value.deviation is None:
        return text
    if text.endswith(" %"):
        return f"{text[:-2]} ± {100 * value.deviation:.2f} %"
    digits = max(0, 3 - math.floor(math.log10(abs(value.mean)))) if value.mean else 4
    return f"{text} ± {value.deviation:.{min(digits, 12)}f}"


def best_group(result: SearchComparison) -> ComparedGroup | None:
    """The one with the best mean; of equal ones the first."""
    valued = [group for group in result.groups if group.value is not None]
    if not valued:
        return None
    sign = -1.0 if result.mode == "max" else 1.0
    return min(valued, key=lambda group: sign * (group.value.mean if group.value is not None else 0.0))


def answer_text(result: SearchComparison) -> str:
    """Who came out best, and whether the runs' spread supports it."""
    best = best_group(result)
    if best is None or best.value is None:
        return "No run came to a value, so there is nothing to compare"
    name = f"Best {goal_name(result)}"
    mean = " on average" if best.num_runs > 1 else ""
    told = f"{name}{mean}: {best.title} with {spread_text(result.metric, best.value)}"
    others = [group for group in result.groups if group is not best and group.value is not None]
    if not others:
        return told
    sign = -1.0 if result.mode == "max" else 1.0
    second = min(others, key=lambda group: sign * (group.value.mean if group.value is not None else 0.0))
    if second.value is None:
        return told
    told += f", before {second.title} with {spread_text(result.metric, second.value)}"
    return told + _doubt(best, second)


def _doubt(best: ComparedGroup, second: ComparedGroup) -> str:
    """Whether the difference of two means is below twice its standard error, as far as that is known."""
    if best.value is None or second.value is None or best.value.deviation is None or second.value.deviation is None:
        return ". Single runs vary with their seed: repeat them with other seeds to see by how much"
    error = math.hypot(
        best.value.deviation / math.sqrt(best.num_runs), second.value.deviation / math.sqrt(second.num_runs)
    )
    if abs(best.value.mean - second.value.mean) < 2 * error:
        return ", a difference within what the seeds make"
    return ", more than the seeds make"


def mean_curve(result: SearchComparison, group: ComparedGroup) -> MeanCurve | None:
    """Over the runs of the group that have a value; None where none has.

    A run that has ended keeps its value: what it found stays found.
    """
    curves = [run.curve for run in result.runs if run.group == group.title and run.curve]
    if not curves:
        return None
    begin = max(curve[0].epochs for curve in curves)
    end = max(run.epochs for run in result.runs if run.group == group.title)
    epochs = sorted(
        {point.epochs for curve in curves for point in curve if point.epochs >= begin} | {begin, max(begin, end)}
    )
    columns = [[_value(curve, at) for curve in curves] for at in epochs]
    return MeanCurve(
        epochs=tuple(epochs),
        means=tuple(math.fsum(column) / len(column) for column in columns),
        lows=tuple(map(min, columns)),
        highs=tuple(map(max, columns)),
    )


def _value(curve: tuple[Incumbent, ...], epochs: float) -> float:
    value = value_after(curve, epochs)
    if value is None:
        raise ValueError("a mean begins where every curve has")
    return value


def _group_test(result: SearchComparison, group: ComparedGroup) -> str:
    runs = [run for run in result.runs if run.group == group.title]
    if len(runs) == 1:
        return score_text(runs[0].test)
    metrics = {run.test.metric for run in runs if run.test is not None}
    return spread_text(metrics.pop(), group.test) if len(metrics) == 1 else NONE


def _count_text(value: Spread | None, *, spread: bool = False) -> str:
    if value is None:
        return NONE
    text = format_count(value.mean)
    return f"{text} ± {format_count(value.deviation)}" if spread and value.deviation else text
