"""The columns of a trial, in the table of the report and in `trials.csv`. To add one, add an entry to `trial_columns`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from probe.files import write_csv
from probe.report.search.figures import param_names, value_spread
from probe.report.shared.wording import metric_text, objective_text
from probe.search.analysis.reasons import reason
from probe.search.records.search import SearchResult, TrialResult
from probe.units import format_count, format_seconds, format_value

TRIALS_FILE = "trials.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
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
    is_number: bool = False
    is_code: bool = False
    """Whether the heading is code: the name of a hyperparameter."""
    if_any: bool = False
    """Whether the report leaves the column out if all its cells are empty."""


def trial_columns(result: SearchResult) -> list[TrialColumn]:
    """All columns in their order: hyperparameters are in the order of the space."""
    return [
        TrialColumn(
            name="number", title="trial", value=lambda t: t.number, text=lambda t: str(t.number), is_number=True
        ),
        TrialColumn(name="status", title="status", value=lambda t: t.status, text=lambda t: t.status),
        TrialColumn(
            name="value",
            title=objective_text(result.metric),
            value=lambda t: t.value,
            text=partial(_value_text, result),
            is_number=True,
        ),
        TrialColumn(
            name="epochs",
            title="epochs",
            value=lambda t: t.epochs,
            text=lambda t: format_count(t.epochs),
            is_number=True,
        ),
        TrialColumn(
            name="seconds",
            title="time",
            value=lambda t: t.seconds,
            text=lambda t: format_seconds(t.seconds),
            is_number=True,
        ),
        *[_param_column(name) for name in param_names(result)],
        TrialColumn(
            name="gradient_accumulation",
            title="gradient accumulation",
            value=lambda t: t.gradient_accumulation,
            text=lambda t: "" if t.gradient_accumulation is None else format_count(t.gradient_accumulation),
            is_number=True,
            if_any=True,
        ),
        TrialColumn(name="message", title="message", value=lambda t: _message(t) or None, text=_message, if_any=True),
    ]


def trials_rows(result: SearchResult) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of trials.csv, a row per trial in the order of their numbers."""
    columns = trial_columns(result)
    rows = [[column.value(trial) for column in columns] for trial in result.trials]
    return [column.name if not column.is_code else f"param_{column.name}" for column in columns], rows


def write_trials(result: SearchResult, path: Path) -> None:
    """Write trials.csv. Raises OutputError if that is not possible."""
    write_csv(path, *trials_rows(result))


def _param_column(name: str) -> TrialColumn:
    return TrialColumn(
        name=name,
        title=name,
        value=lambda t: t.params.get(name),
        text=lambda t: format_value(t.params[name]) if name in t.params else "",
        is_code=True,
    )


def _value_text(result: SearchResult, trial: TrialResult) -> str:
    """The value, with its standard deviation over the folds if there are any."""
    if trial.value is None:
        return ""
    spread, value = value_spread(result, trial), metric_text(result.metric, trial.value)
    return value if spread is None else f"{value} ± {metric_text(result.metric, spread)}"


def _message(trial: TrialResult) -> str:
    """The message on one line; of a traceback only the error."""
    return reason(trial.message) if trial.message and trial.message.strip() else ""
