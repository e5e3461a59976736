"""The report of the training of one configuration, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from probe.report.search.regularization import fit_table
from probe.report.shared.diagnosis_text import diagnosis_block
from probe.report.shared.markdown import code_cell, escape, page, summary_blocks, table
from probe.report.shared.sections import (
    CURVES_CAPTION,
    environment_block,
    loading_text,
    partial_note,
    plot_block,
    reproduce_blocks,
    settings_block,
)
from probe.report.shared.wording import metric_text
from probe.report.train.history_csv import HISTORY_FILE
from probe.report.train.summary import best_epoch_text, train_summary
from probe.single.records import TrainResult
from probe.training.records import EpochReport
from probe.units import format_count, format_seconds, format_value

CURVES_PLOT = "learning_curves.png"
MAX_ROWS = 12
"""Rows of the table of epochs; of more epochs the first and the last ones are shown."""

_PARTIAL = {
    "interrupted": "the training was interrupted; curves and weights are those of its last complete epoch.",
    "diverged": "the training diverged: its loss was no longer finite. Curves and weights are those before that.",
    "oom": "the training ran out of memory. Curves and weights are those of its last complete epoch.",
}


def train_page(result: TrainResult, plots: Sequence[str]) -> str:
    """Markdown; `plots` are the files that were drawn."""
    params = [[code_cell(name), escape(format_value(value))] for name, value in result.params.items()]
    return page(
        [
            f"# Training: {escape(result.name)}",
            partial_note(_PARTIAL.get(result.stopped_by)),
            *summary_blocks(train_summary(result), without=("Task", "Device", "Weights")),
            _trust_text(result),
            settings_block(result.meta, _settings(result)),
            "## Learning curves" if result.reports else None,
            plot_block(plots, CURVES_PLOT, CURVES_CAPTION),
            fit_table(result.summary, result.weights),
            *([] if result.diagnosis is None else diagnosis_block(result.diagnosis)),
            *_epochs_blocks(result),
            "## Weights",
            _weights_text(result),
            "## Hyperparameters",
            table(["", ""], params) if params else "The recipe sets none: all are defaults of the task.",
            *reproduce_blocks(result.meta, result.recipe),
            environment_block(result.meta),
        ]
    )


def _trust_text(result: TrainResult) -> str | None:
    """What the test split was used for, and that the best epoch was chosen afterwards."""
    texts = []
    if result.test is not None and not result.test.num_shared:
        texts.append("The test split was scored once, after the last epoch, and influenced no decision.")
    elif result.test is not None:
        texts.append("The test split was scored once, after the last epoch.")
    elif result.num_test is not None and result.reports:
        texts.append("The test split was not scored, because the training did not finish.")
    if best_epoch_text(result) is not None:
        texts.append(
            "The stored weights are those of the last epoch; the best epoch is chosen afterwards, so its value is "
            "slightly optimistic."
        )
    return " ".join(texts) or None


def _settings(result: TrainResult) -> list[tuple[str, str]]:
    splits = [("training", result.num_train), ("validation", result.num_val), ("test", result.num_test)]
    samples = ", ".join(f"{format_count(count)} {name}" for name, count in splits if count is not None)
    return [
        ("recipe", escape(result.name)),
        ("task", escape(result.task)),
        ("data", f"{samples} samples" + (" (trained on the validation split too)" if result.all_data else "")),
        ("epochs", format_count(result.epochs)),
    ]


def _epochs_blocks(result: TrainResult) -> list[str]:
    reports = result.reports
    if not reports:
        return []
    names = list(dict.fromkeys(name for report in reports for name in report.metrics))
    trained = list(dict.fromkeys(name for report in reports for name in report.train_metrics))
    shown: list[EpochReport | None] = list(reports)
    if len(reports) > MAX_ROWS:
        half = MAX_ROWS // 2
        shown = [*reports[:half], None, *reports[-half:]]
    header = ["epoch", "training loss", *[f"training {escape(name)}" for name in trained]]
    header += ["validation loss", *[f"validation {escape(name)}" for name in names], "time"]
    rows = [["…"] * len(header) if report is None else _epoch_row(report, trained, names) for report in shown]
    file = f"[{HISTORY_FILE}]({HISTORY_FILE})"
    return ["### Epochs", table(header, rows, right=tuple(range(len(header)))), f"All epochs with all numbers: {file}."]


def _epoch_row(report: EpochReport, trained: Sequence[str], names: Sequence[str]) -> list[str]:
    val_loss = "" if report.val_loss is None else format_value(report.val_loss)
    train = [format_value(report.train_loss), *_metric_cells(report.train_metrics, trained)]
    val = [val_loss, *_metric_cells(report.metrics, names)]
    return [str(report.epoch), *train, *val, format_seconds(report.seconds)]


def _metric_cells(metrics: Mapping[str, float], names: Sequence[str]) -> list[str]:
    return [metric_text(name, metrics[name]) if name in metrics else "" for name in names]


def _weights_text(result: TrainResult) -> str:
    file = result.weights_file
    if file is None:
        return "No weights were stored."
    epochs = format_count(len(result.reports))
    return (
        f"[{file}]({file}) holds the weights after epoch {epochs}. Build the model as the task does, then call "
        f"{loading_text(file)}, which also restores tied weights, stored once."
    )
