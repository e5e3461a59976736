"""`trials.csv`: one row a trial, for spreadsheets and pandas."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from probe.files import write_text
from probe.report.search.summary import param_names
from probe.search.analysis.reasons import reason
from probe.search.records.search import SearchResult

TRIALS_FILE = "trials.csv"


def trials_frame(result: SearchResult) -> pd.DataFrame:
    """Columns number, status, value, epochs, seconds, then `param_<name>` in the space's order, then accumulation (the parts
    that a batch was split into because whole it did not fit) and message (as one line; of a traceback, the error). None
    where there is no value.

    Of dtype object: a column of whole numbers stays one though some trials do not have that hyperparameter.
    """
    names = param_names(result)
    columns = ["number", "status", "value", "epochs", "seconds", *[f"param_{name}" for name in names]]
    columns += ["gradient_accumulation", "message"]
    rows = [
        [
            trial.number,
            trial.status,
            trial.value,
            trial.epochs,
            trial.seconds,
            *[trial.params.get(name) for name in names],
            trial.gradient_accumulation,
            reason(trial.message) if trial.message and trial.message.strip() else None,
        ]
        for trial in result.trials
    ]
    return pd.DataFrame(rows, columns=columns, dtype=object)


def write_trials(result: SearchResult, path: Path) -> None:
    """Raises OutputError where the file cannot be written."""
    write_text(path, trials_frame(result).to_csv(index=False, lineterminator="\n"))
