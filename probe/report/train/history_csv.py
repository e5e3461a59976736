"""`history.csv`: a row per epoch of a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from probe.report.shared.csv_files import write_csv
from probe.single.records import TrainResult
from probe.training.records import EpochReport

HISTORY_FILE = "history.csv"


def write_train_files(result: TrainResult, folder: Path) -> None:
    """Write history.csv. Raises OutputError if that is not possible."""
    write_csv(folder / HISTORY_FILE, *history_rows(result.reports))


def history_rows(reports: Sequence[EpochReport]) -> tuple[list[str], list[list[float | int | None]]]:
    """Header and rows: epoch, seconds, train_loss, val_loss, `train_<metric>` and `val_<metric>`; None if not measured."""
    names = list(dict.fromkeys(name for report in reports for name in (*report.metrics, *report.undefined)))
    trained = list(dict.fromkeys(name for report in reports for name in report.train_metrics))
    header = ["epoch", "seconds", "train_loss", "val_loss"]
    header += [f"train_{name}" for name in trained] + [f"val_{name}" for name in names]
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
    return header, rows
