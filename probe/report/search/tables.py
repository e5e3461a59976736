"""Tables of a search's report, as Markdown."""

from __future__ import annotations

from probe.recipe.when import Bounds, condition_words
from probe.report.search.summary import (
    lost_epochs,
    objective_name,
    param_names,
    ranked,
    share_text,
    spending_by_rung,
    value_spread,
)
from probe.report.shared.common import ParamValue, metric_text
from probe.report.shared.markdown import code, code_cell, escape, table
from probe.search.analysis.reasons import reason
from probe.search.records.search import Dimension, SearchResult, TrialResult
from probe.search.schedulers.fidelity import rung_name
from probe.units import format_count, format_lr, format_percent, format_seconds, format_value

MAX_TRIAL_ROWS = 50


def best_table(result: SearchResult) -> str | None:
    """The winner's hyperparameters beside what was searched and how much each matters."""
    if result.best is None:
        return None
    dimensions = {dimension.name: dimension for dimension in result.space}
    rows = []
    for name, value in result.best.params.items():
        searched = range_text(dimensions[name]) if name in dimensions else "constant"
        found = (result.importance or {}).get(name)
        rows.append([code_cell(name), _value_cell(value), searched, "" if found is None else share_text(found)])
    return table(["hyperparameter", "best", "searched", "importance"], rows, right=(3,)) if rows else None


def space_table(result: SearchResult) -> str:
    """The space as it was searched, probed ends filled in, and the constants."""
    rows = [[code_cell(d.name), d.kind, range_text(d), "log" if d.log else "", _when_text(d)] for d in result.space]
    searched = (
        table(["hyperparameter", "kind", "searched", "scale", "only with"], rows) if rows else "Nothing was searched."
    )
    if not result.constants:
        return searched
    constants = [[code_cell(name), _value_cell(value)] for name, value in result.constants.items()]
    return f"{searched}\n\nConstants:\n\n{table(['hyperparameter', 'value'], constants)}"


def range_text(dimension: Dimension) -> str:
    """`0.001 to 0.1`, `sgd, adam`, or one range for each optimizer."""
    if dimension.kind == "choices":
        return ", ".join(_value_cell(choice) for choice in dimension.choices)
    if dimension.per:
        return "; ".join(
            f"{escape(name)}: {' to '.join(end_text(dimension, end) for end in ends)}"
            for name, ends in dimension.per.items()
        )
    if dimension.low is None or dimension.high is None:
        return "not known"
    steps = "" if dimension.step is None else f" in steps of {end_text(dimension, dimension.step)}"
    return f"{end_text(dimension, dimension.low)} to {end_text(dimension, dimension.high)}{steps}"


def trials_table(result: SearchResult) -> str:
    """Trials, best first; at most MAX_TRIAL_ROWS of them, the rest is in trials.csv."""
    if not result.trials:
        return "No trial was started."
    trials, names = ranked(result), param_names(result)
    shown = trials[:MAX_TRIAL_ROWS]
    has_notes = any(trial.message for trial in shown)
    header = ["trial", "status", escape(objective_name(result)), "epochs", "time", *map(code_cell, names)]
    rows = [_trial_row(result, trial, names, has_notes) for trial in shown]
    told = table([*header, "note"] if has_notes else header, rows, right=(0, 2, 3, 4))
    if len(trials) > len(shown):
        told += f"\n\nThe best {len(shown)} of {format_count(len(trials))} trials; all of them: {code('trials.csv')}."
    return told


def rungs_table(result: SearchResult) -> str | None:
    """Where the budget's epochs went: the probes, then the trials rung by rung."""
    spending = spending_by_rung(result)
    if not spending or not result.trials:
        return None
    probes, lost = result.spent.probe_epochs, lost_epochs(result.trials)
    total = probes + lost + sum(rung.epochs for rung in spending)
    rows = [["probes", "", "", format_count(probes), _share(probes, total)]] if probes else []
    for number, rung in enumerate(spending, start=1):
        span = (
            f"{rung.first_epoch} to {rung.last_epoch}"
            if rung.first_epoch < rung.last_epoch
            else rung_name(result.rung_unit, rung.last_epoch)
        )
        reached = format_count(rung.num_trials)
        rows.append([str(number), span, reached, format_count(rung.epochs), _share(rung.epochs, total)])
    if lost:
        rows.append(
            ["without a report (diverged, crashed, run again)", "", "", format_count(lost), _share(lost, total)]
        )
    what = "epochs of a trial" if result.rung_unit == "epochs" else "of the training data"
    header = ["rung", what, "trials that got through", "epochs spent", "share"]
    return table(header, rows, right=(1, 2, 3, 4))


def spent_table(result: SearchResult) -> str:
    """The budget: spent against allowed."""
    spent, limits = result.spent, result.limits
    rows = [
        ["trials", format_count(spent.trials), _limit(limits.trials)],
        ["epochs", format_count(spent.epochs), _limit(limits.epochs)],
        ["of these, by the probes", format_count(spent.probe_epochs), ""],
        ["time", format_seconds(spent.seconds), _limit_time(limits.time_seconds)],
        ["final fit, on top", f"{format_count(spent.final_epochs)} epochs, {format_seconds(spent.final_seconds)}", ""],
    ]
    gradients = sum(trial.refinement.epochs for trial in result.trials if trial.refinement is not None)
    if gradients:
        rows.insert(3, ["of these, by gradients", format_count(gradients), ""])
    if spent.lost_epochs:
        rows.append(["lost when it was stopped, on top", f"{format_count(spent.lost_epochs)} epochs", ""])
    return table(["", "spent", "limit"], rows, right=(1, 2))


def _trial_row(result: SearchResult, trial: TrialResult, names: list[str], has_notes: bool) -> list[str]:
    is_best = result.best is not None and trial.number == result.best.number
    row = [
        f"**{trial.number}**" if is_best else str(trial.number),
        trial.status,
        _trial_value(result, trial),
        format_count(trial.epochs),
        format_seconds(trial.seconds),
        *[_value_cell(trial.params[name]) if name in trial.params else "" for name in names],
    ]
    return [*row, escape(reason(trial.message or ""))] if has_notes else row


def _trial_value(result: SearchResult, trial: TrialResult) -> str:
    """With its standard deviation over the folds where there are any."""
    if trial.value is None:
        return ""
    spread = value_spread(result, trial)
    value = metric_text(result.metric, trial.value)
    return value if spread is None else f"{value} ± {metric_text(result.metric, spread)}"


def _value_cell(value: ParamValue) -> str:
    return escape(format_value(value))


def end_text(dimension: Dimension, end: float) -> str:
    return format_count(round(end)) if dimension.kind in ("int", "pow2") else format_lr(end)


def _when_text(dimension: Dimension) -> str:
    return ", ".join(
        f"{code_cell(name)} {'' if isinstance(condition, Bounds) else '= '}{escape(condition_words(condition))}"
        for name, condition in (dimension.when or {}).items()
    )


def _share(part: float, whole: float) -> str:
    return format_percent(part / whole, decimals=0) if whole else ""


def _limit(limit: float | None) -> str:
    return "none" if limit is None else format_count(limit)


def _limit_time(seconds: float | None) -> str:
    return "none" if seconds is None else format_seconds(seconds)
