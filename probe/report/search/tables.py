"""Tables of a search's report as Markdown, and `trials.csv`. To add a column of a trial, add an entry to `trial_columns`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import partial
from statistics import median
from typing import Any

from probe.recipe.when import Bounds, condition_words
from probe.report.search.figures import lost_epochs, param_names, ranked, spending_by_rung, value_spread
from probe.report.search.summary import importance_value
from probe.report.shared.markdown import code, code_cell, escape, table
from probe.report.shared.wording import MAX_MESSAGE, cell, metric_text, objective_text, shorten
from probe.search.analysis.messages import reason
from probe.search.records.search import Dimension, ParamValue, SearchResult, TrialResult
from probe.search.schedulers.fidelity import rung_name
from probe.units import format_count, format_lr, format_percent, format_seconds, format_value

MAX_TRIAL_ROWS = 50
TRIALS_FILE = "trials.csv"


def best_table(result: SearchResult) -> str | None:
    """The best trial's hyperparameters, what was searched, and how important each is; None without a best trial."""
    if result.best is None:
        return None
    dimensions = {dimension.name: dimension for dimension in result.space}
    rows = []
    for name, value in result.best.params.items():
        searched = range_text(dimensions[name]) if name in dimensions else "constant"
        found = (result.importance or {}).get(name)
        rows.append([code_cell(name), _value_cell(value), searched, "" if found is None else importance_value(found)])
    return table(["hyperparameter", "best", "searched", "importance"], rows, right=(3,)) if rows else None


def space_table(result: SearchResult) -> str:
    """The space as it was searched, including the ranges found by probes, and the constants."""
    rows = [[code_cell(d.name), d.kind, range_text(d), "log" if d.log else "", _when_text(d)] for d in result.space]
    header = ["hyperparameter", "kind", "searched", "scale", "only with"]
    searched = table(header, rows) if rows else "No hyperparameter was searched."
    if not result.constants:
        return searched
    constants = [[code_cell(name), _value_cell(value)] for name, value in result.constants.items()]
    return f"{searched}\n\nConstants:\n\n{table(['hyperparameter', 'value'], constants)}"


def range_text(dimension: Dimension) -> str:
    """`0.001 to 0.1`, `sgd, adam`, or one range for each optimizer; Markdown."""
    if dimension.kind == "choices":
        return ", ".join(_value_cell(choice) for choice in dimension.choices)
    if dimension.per:
        write = _end_format(dimension)
        return "; ".join(f"{escape(name)}: {' to '.join(map(write, ends))}" for name, ends in dimension.per.items())
    return span_text(dimension, dimension.low, dimension.high)


def span_text(dimension: Dimension, low: float | None, high: float | None) -> str:
    """A range and its step: `8 to 64 in steps of 8`."""
    if low is None or high is None:
        return "not known"
    write = _end_format(dimension)
    return f"{write(low)} to {write(high)}" + (
        "" if dimension.step is None else f" in steps of {write(dimension.step)}"
    )


def _end_format(dimension: Dimension) -> Callable[[float], str]:
    return (lambda end: format_count(round(end))) if dimension.kind in ("int", "pow2") else format_lr


def trials_table(result: SearchResult) -> str:
    """Trials, best first; at most MAX_TRIAL_ROWS, trials.csv has all of them."""
    if not result.trials:
        return "No trial was started."
    trials = ranked(result)
    shown = trials[:MAX_TRIAL_ROWS]
    columns = [c for c in trial_columns(result) if not c.if_any or any(c.text(trial) for trial in shown)]
    header = [code_cell(column.title) if column.is_code else escape(column.title) for column in columns]
    rows = [[_trial_cell(result, column, trial) for column in columns] for trial in shown]
    text = table(header, rows, right=[index for index, column in enumerate(columns) if column.is_number])
    if len(trials) > len(shown):
        text += f"\n\nThe best {len(shown)} of {format_count(len(trials))} trials; {code(TRIALS_FILE)} has all of them."
    return text


def _trial_cell(result: SearchResult, column: TrialColumn, trial: TrialResult) -> str:
    """The number of the best trial is bold."""
    is_best = column.name == "number" and result.best is not None and trial.number == result.best.number
    return f"**{column.text(trial)}**" if is_best else escape(column.text(trial))


def choices_table(result: SearchResult) -> str | None:
    """The best trial with each value of the hyperparameters that are chosen from a list; None if there are none."""
    listed = [dimension for dimension in result.space if dimension.kind == "choices" and len(dimension.choices) > 1]
    rows = [_choice_row(result, dimension, choice) for dimension in listed for choice in dimension.choices]
    if not rows or not result.trials:
        return None
    header = ["hyperparameter", "value", "trials", f"best {escape(objective_text(result.metric))}", "trial", "epochs"]
    text = table([*header, "median time of an epoch"], rows, right=(2, 3, 4, 5, 6))
    return f"{text}\n\nThe sampler decided how often each value was tried, and prefers values that did well."


def _choice_row(result: SearchResult, dimension: Dimension, choice: ParamValue) -> list[str]:
    trials = [trial for trial in ranked(result) if _has(trial, dimension.name, choice)]
    best = trials[0] if trials and trials[0].value is not None else None
    seconds = [trial.seconds / trial.epochs for trial in trials if trial.epochs]
    return [
        code_cell(dimension.name),
        _value_cell(choice),
        format_count(len(trials)),
        "" if best is None or best.value is None else metric_text(result.metric, best.value),
        "" if best is None else str(best.number),
        "" if best is None else format_count(best.epochs),
        format_seconds(median(seconds)) if seconds else "",
    ]


def _has(trial: TrialResult, name: str, choice: ParamValue) -> bool:
    """Whether a trial has exactly this value; True is not 1."""
    value = trial.params.get(name)
    return value == choice and isinstance(value, bool) == isinstance(choice, bool)


def rungs_table(result: SearchResult) -> str | None:
    """The epochs of the budget: those of the probes, then those of the trials by rung."""
    spending = spending_by_rung(result)
    if not spending or not result.trials:
        return None
    probes, lost = result.spent.probe_epochs, lost_epochs(result.trials)
    total = probes + lost + sum(rung.epochs for rung in spending)
    rows = [["probes", "", "", format_count(probes), _percent(probes, total)]] if probes else []
    for number, rung in enumerate(spending, start=1):
        span = rung_name(result.rung_unit, rung.last_epoch)
        if rung.first_epoch < rung.last_epoch:
            span = f"{rung.first_epoch} to {rung.last_epoch}"
        completed = format_count(rung.num_trials)
        rows.append([str(number), span, completed, format_count(rung.epochs), _percent(rung.epochs, total)])
    if lost:
        without = "without a report (diverged, crashed, run again)"
        rows.append([without, "", "", format_count(lost), _percent(lost, total)])
    what = "epochs of a trial" if result.rung_unit == "epochs" else "of the training data"
    header = ["rung", what, "trials that completed it", "epochs spent", "fraction"]
    return table(header, rows, right=(1, 2, 3, 4))


def spent_table(result: SearchResult) -> str:
    """The budget: what was spent and its limits."""
    spent, limits = result.spent, result.limits
    final = f"{format_count(spent.final_epochs)} epochs, {format_seconds(spent.final_seconds)}"
    gradients = sum(trial.refinement.epochs for trial in result.trials if trial.refinement is not None)
    rows = [
        ["trials", format_count(spent.trials), cell(limits.trials, format_count, none="none")],
        ["epochs", format_count(spent.epochs), cell(limits.epochs, format_count, none="none")],
        ["of these, for probes", format_count(spent.probe_epochs), ""],
        *([["of these, for gradients", format_count(gradients), ""]] if gradients else []),
        ["time", format_seconds(spent.seconds), cell(limits.time_seconds, format_seconds, none="none")],
        ["final training, in addition", final, ""],
    ]
    if spent.lost_epochs:
        rows.append(["lost when it was stopped, in addition", f"{format_count(spent.lost_epochs)} epochs", ""])
    return table(["", "spent", "limit"], rows, right=(1, 2))


def _value_cell(value: ParamValue) -> str:
    return escape(format_value(value))


def _when_text(dimension: Dimension) -> str:
    return ", ".join(
        f"{code_cell(name)} {'' if isinstance(condition, Bounds) else '= '}{escape(condition_words(condition))}"
        for name, condition in (dimension.when or {}).items()
    )


def _percent(part: float, whole: float) -> str:
    return format_percent(part / whole, decimals=0) if whole else ""


@dataclass(frozen=True, slots=True)
class TrialColumn:
    """One column: where its values come from and how they are written."""

    name: str
    """The heading in trials.csv."""
    title: str
    """The heading in the report."""
    value: Callable[[TrialResult], Any]
    """The value in trials.csv; None leaves the cell empty."""
    text: Callable[[TrialResult], str]
    """The cell in the report, as plain text."""
    _: KW_ONLY
    is_number: bool = False
    is_code: bool = False
    """Whether the heading is code: the name of a hyperparameter."""
    if_any: bool = False
    """Whether the report leaves the column out if all its cells are empty."""


def trial_columns(result: SearchResult) -> list[TrialColumn]:
    """All columns in their order: hyperparameters are in the order of the space."""
    objective = objective_text(result.metric)
    return [
        TrialColumn("number", "trial", lambda t: t.number, lambda t: str(t.number), is_number=True),
        TrialColumn("status", "status", lambda t: t.status, lambda t: t.status),
        TrialColumn("value", objective, lambda t: t.value, partial(_value_text, result), is_number=True),
        TrialColumn("epochs", "epochs", lambda t: t.epochs, lambda t: format_count(t.epochs), is_number=True),
        TrialColumn("seconds", "time", lambda t: t.seconds, lambda t: format_seconds(t.seconds), is_number=True),
        *[_param_column(name) for name in param_names(result)],
        TrialColumn(
            "gradient_accumulation",
            "gradient accumulation",
            lambda t: t.gradient_accumulation,
            lambda t: cell(t.gradient_accumulation, format_count),
            is_number=True,
            if_any=True,
        ),
        TrialColumn(
            "message",
            "message",
            lambda t: _message(t) or None,
            lambda t: shorten(_message(t), MAX_MESSAGE),
            if_any=True,
        ),
    ]


def trials_rows(result: SearchResult) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of trials.csv, a row per trial in the order of their numbers."""
    columns = trial_columns(result)
    rows = [[column.value(trial) for column in columns] for trial in result.trials]
    return [column.name if not column.is_code else f"param_{column.name}" for column in columns], rows


def _param_column(name: str) -> TrialColumn:
    def text(trial: TrialResult) -> str:
        return format_value(trial.params[name]) if name in trial.params else ""

    return TrialColumn(name, name, lambda t: t.params.get(name), text, is_code=True)


def _value_text(result: SearchResult, trial: TrialResult) -> str:
    """The value, with its standard deviation over the folds if there are any."""
    if trial.value is None:
        return ""
    spread, value = value_spread(result, trial), metric_text(result.metric, trial.value)
    return value if spread is None else f"{value} ± {metric_text(result.metric, spread)}"


def _message(trial: TrialResult) -> str:
    """The message on one line; of a traceback only the error."""
    return reason(trial.message) if trial.message and trial.message.strip() else ""


def _short_message(trial: TrialResult) -> str:
    return shorten(_message(trial), MAX_MESSAGE)
