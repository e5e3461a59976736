"""The columns of a trial, in the table of the report and in `trials.csv`. To add one, add an entry to `trial_columns`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any

from probe.report.search.figures import param_names, value_spread
from probe.report.shared.wording import cell, metric_text, objective_text
from probe.search.analysis.reasons import reason
from probe.search.records.search import SearchResult, TrialResult
from probe.units import format_count, format_seconds, format_value

TRIALS_FILE = "trials.csv"


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
        TrialColumn("message", "message", lambda t: _message(t) or None, _message, if_any=True),
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
