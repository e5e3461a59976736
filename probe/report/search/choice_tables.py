"""What each choice of a search came to: with and without an embedding layer, one optimizer and the other."""

from __future__ import annotations

from statistics import median

from probe.report.search.summary import objective_name, ranked
from probe.report.shared.common import ParamValue, metric_text
from probe.report.shared.markdown import code_cell, escape, page, table
from probe.search.records.search import Dimension, SearchResult, TrialResult
from probe.units import format_count, format_seconds, format_value


def choices_table(result: SearchResult) -> str | None:
    """The best trial with each value of each hyperparameter that is chosen from a list; None where there is no such one."""
    rows = []
    for dimension in result.space:
        if dimension.kind == "choices" and len(dimension.choices) > 1:
            rows += [_row(result, dimension, choice) for choice in dimension.choices]
    if not rows or not result.trials:
        return None
    header = ["hyperparameter", "value", "trials", f"best {escape(objective_name(result))}", "by trial", "epochs"]
    told = table([*header, "median time of an epoch"], rows, right=(2, 3, 4, 5, 6))
    return page([told, "How often each was tried was the sampler's decision, which favours what did well."]).rstrip()


def _row(result: SearchResult, dimension: Dimension, choice: ParamValue) -> list[str]:
    trials = [trial for trial in ranked(result) if _has(trial, dimension.name, choice)]
    best = trials[0] if trials and trials[0].value is not None else None
    seconds = [trial.seconds / trial.epochs for trial in trials if trial.epochs]
    return [
        code_cell(dimension.name),
        escape(format_value(choice)),
        format_count(len(trials)),
        "" if best is None or best.value is None else metric_text(result.metric, best.value),
        "" if best is None else str(best.number),
        "" if best is None else format_count(best.epochs),
        format_seconds(median(seconds)) if seconds else "",
    ]


def _has(trial: TrialResult, name: str, choice: ParamValue) -> bool:
    """Whether a trial has that very value: True is no 1."""
    value = trial.params.get(name)
    return value == choice and isinstance(value, bool) == isinstance(choice, bool)
