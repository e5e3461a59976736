"""Searches compared: the summary, its rows and curves, and the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from probe.report.shared.markdown import code, command, escape, page, plot_block, summary_blocks, text_table
from probe.report.shared.summary import Line, Summary, Table, labelled
from probe.report.shared.wording import NONE, cell, metric_text, objective_text, plural
from probe.search.compare.compare import value_after
from probe.search.records.comparison import ComparedGroup, SearchComparison, Spread
from probe.search.records.search import Score
from probe.units import format_count

COMPARED_SEARCHES_FILE = "comparison.md"
COMPARED_SEARCHES_PLOT = "comparison.png"

_READING = (
    "The best validation value of a search is optimistic, the more so the more trials it had. Test scores are not, but the "
    "final training of each seed varies too. If the task has no validation split, each seed holds out its own, so "
    "searches are best compared on the same seeds. Test scores are shown with their 95 % interval if it is known."
)


def search_comparison_page(result: SearchComparison, plots: Sequence[str]) -> str:
    """Markdown; `plots` are the files that were drawn."""
    caption = f"Best {objective_text(result.metric)} so far against the epochs spent."
    band = " The band spans the runs of a group, the line is their mean." if has_groups(result) else ""
    return page(
        [
            "# Searches compared",
            *summary_blocks(compare_summary(result)),
            _legend(result),
            plot_block(plots, COMPARED_SEARCHES_PLOT, f"{caption}{band}"),
            "## Each run",
            text_table(Table(header=run_header(result), rows=tuple(run_rows(result)), num_left=3)),
            _READING,
            "## Made by",
            _made_by(result),
        ]
    )


def _legend(result: SearchComparison) -> str:
    text = (
        "Epochs are those of the budget: probes are included, the final training is not. The last column shows how many of "
        "them were spent to reach the final best value of the weakest run."
    )
    if has_groups(result):
        text += " Rows of several runs are means over their seeds, ± the standard deviation between them."
    return text


def _made_by(result: SearchComparison) -> str:
    typed = command(result.meta.argv)
    how = "from Python" if typed is None else f"with {code(typed)}"
    return (
        f"Compared at {escape(result.meta.started_at)} {how}, by probe {escape(result.meta.probe_version)}. The report in the "
        "folder of each search has its settings, its environment, and its results."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanCurve:
    """The best value of a group against epochs, from the point at which all its runs have one."""

    epochs: tuple[float, ...]
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]


def compare_summary(result: SearchComparison) -> Summary:
    """The best search and a row for each group of runs."""
    header = group_header(result)
    optional = tuple(header.index(name) for name in ("scheduler", "sampler", "trials", "epochs"))
    num_left = header.index("scheduler") + 1
    table = Table(header=header, rows=tuple(group_rows(result)), num_left=num_left, optional=optional)
    means = "means over the runs of a recipe, ± the standard deviation between their seeds"
    lines: list[Line] = [("", table), *labelled("Note", [means if has_groups(result) else None])]
    epochs = format_count(sum(run.epochs for run in result.runs))
    cost = f"{plural(len(result.runs), 'run')}, {epochs} epochs in total"
    lines += [*labelled("Warning", result.warnings), ("Cost", cost)]
    return Summary(answer=answer_text(result), lines=tuple(lines))


def has_groups(result: SearchComparison) -> bool:
    """Whether a group has several runs, so that its row is a mean."""
    return any(group.num_runs > 1 for group in result.groups)


def group_header(result: SearchComparison) -> tuple[str, ...]:
    """The headings of `group_rows`."""
    runs = ("runs",) if has_groups(result) else ()
    return ("search", *runs, "sampler", "scheduler", *_number_header(result))


def _number_header(result: SearchComparison) -> tuple[str, ...]:
    target = "the target" if result.target is None else metric_text(result.metric, result.target)
    metrics = {run.test.metric for run in result.runs if run.test is not None}
    test = f"test {metrics.pop()}" if len(metrics) == 1 else "test"
    return ("trials", "epochs", f"best {objective_text(result.metric)}", test, f"epochs to {target}")


def group_rows(result: SearchComparison) -> list[tuple[str, ...]]:
    """A row for each group; for several runs the mean ± the standard deviation."""
    return [
        (
            group.title,
            *((format_count(group.num_runs),) if has_groups(result) else ()),
            group.sampler,
            group.scheduler,
            _count_text(group.num_trials),
            _count_text(group.epochs),
            spread_text(result.metric, group.value),
            _group_test(result, group),
            _count_text(group.epochs_to_target, spread=True),
        )
        for group in result.groups
    ]


def run_header(result: SearchComparison) -> tuple[str, ...]:
    """The headings of `run_rows`."""
    return ("search", "seed", "folder", *_number_header(result))


def run_rows(result: SearchComparison) -> list[tuple[str, ...]]:
    """A row for each run."""
    return [
        (
            run.group,
            str(run.seed),
            run.folder,
            format_count(run.num_trials),
            format_count(run.epochs),
            NONE if run.value is None else metric_text(result.metric, run.value),
            _test_text(run.test),
            cell(run.epochs_to_target, format_count, none=NONE),
        )
        for run in result.runs
    ]


def _test_text(test: Score | None) -> str:
    """`98.61 % (98.37 % to 98.83 %)`."""
    if test is None:
        return NONE
    value, low, high = [cell(end, partial(metric_text, test.metric)) for end in (test.value, test.low, test.high)]
    return f"{value} ({low} to {high})" if low and high else value


def spread_text(metric: str, value: Spread | None) -> str:
    """A mean with its standard deviation: `98.21 %`, `98.21 ± 0.34 %`, `0.1234 ± 0.0056`."""
    if value is None:
        return NONE
    text = metric_text(metric, value.mean)
    if value.deviation is None:
        return text
    if text.endswith(" %"):
        return f"{text[:-2]} ± {100 * value.deviation:.2f} %"
    digits = max(0, 3 - math.floor(math.log10(abs(value.mean)))) if value.mean else 4
    return f"{text} ± {value.deviation:.{min(digits, 12)}f}"


def answer_text(result: SearchComparison) -> str:
    """The best search, and whether the spread of the runs supports the difference."""
    sign = -1.0 if result.mode == "max" else 1.0
    valued = [(group, group.value) for group in result.groups if group.value is not None]
    ranked = sorted(valued, key=lambda item: sign * item[1].mean)  # of equal groups, the first one wins
    if not ranked:
        return "no run has a value, so there is nothing to compare"
    best, value = ranked[0]
    mean = " on average" if best.num_runs > 1 else ""
    answer = f"best {objective_text(result.metric)}{mean}: {best.title} with {spread_text(result.metric, value)}"
    if len(ranked) == 1:
        return answer
    second, other = ranked[1]
    answer += f", ahead of {second.title} with {spread_text(result.metric, other)}"
    if value.deviation is None or other.deviation is None:
        return f"{answer}; single runs vary with their seed, so repeat them with other seeds to see by how much"
    # the difference of two means against twice its standard error
    error = math.hypot(value.deviation / math.sqrt(best.num_runs), other.deviation / math.sqrt(second.num_runs))
    where = "within" if abs(value.mean - other.mean) < 2 * error else "beyond"
    return f"{answer}, a difference {where} the variation between seeds"


def mean_curve(result: SearchComparison, group: ComparedGroup) -> MeanCurve | None:
    """The mean curve over the runs of a group that have a value, which a run keeps after its end; None if no run has one."""
    curves = [run.curve for run in result.runs if run.group == group.title and run.curve]
    if not curves:
        return None
    begin = max(curve[0].epochs for curve in curves)
    end = max(run.epochs for run in result.runs if run.group == group.title)
    epochs = sorted(
        {point.epochs for curve in curves for point in curve if point.epochs >= begin} | {begin, max(begin, end)}
    )
    columns = [[value for curve in curves if (value := value_after(curve, at)) is not None] for at in epochs]
    return MeanCurve(
        epochs=tuple(epochs),
        means=tuple(math.fsum(column) / len(column) for column in columns),
        lows=tuple(map(min, columns)),
        highs=tuple(map(max, columns)),
    )


def _group_test(result: SearchComparison, group: ComparedGroup) -> str:
    runs = [run for run in result.runs if run.group == group.title]
    if len(runs) == 1:
        return _test_text(runs[0].test)
    metrics = {run.test.metric for run in runs if run.test is not None}
    return spread_text(metrics.pop(), group.test) if len(metrics) == 1 else NONE


def _count_text(value: Spread | None, *, spread: bool = False) -> str:
    if value is None:
        return NONE
    text = format_count(value.mean)
    return f"{text} ± {format_count(value.deviation)}" if spread and value.deviation else text
