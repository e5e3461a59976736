"""`history.csv`: one row an epoch of a training, for spreadsheets and pandas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from probe.files import write_text
from probe.training.records import EpochReport


def history_frame(reports: Sequence[EpochReport]) -> pd.DataFrame:
    """Columns epoch, seconds, train_loss, val_loss, `train_<metric>` and `val_<metric>`; None where nothing was measured."""
    names = list(dict.fromkeys(name for report in reports for name in (*report.metrics, *report.undefined)))
    trained = list(dict.fromkeys(name for report in reports for name in report.train_metrics))
    columns = ["epoch", "seconds", "train_loss", "val_loss"]
    columns += [f"train_{name}" for name in trained] + [f"val_{name}" for name in names]
    rows = [
        [
            report.epoch,
            report.seconds,
            report.train_loss,
            report.val_loss,
            *[report.train_metrics.get(name) for name in trained],
            *[report.metrics.get(name) for name in names],
        ]
        for report in reports
    ]
    return pd.DataFrame(rows, columns=columns, dtype=object)


def write_history(reports: Sequence[EpochReport], path: Path) -> None:
    """Raises OutputError where the file cannot be written."""
    write_text(path, history_frame(reports).to_csv(index=False, lineterminator="\n"))
