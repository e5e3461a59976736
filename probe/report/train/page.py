"""The report of one training, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from probe.report.lr.page import warnings_block
from probe.report.search.regularization import fit_table
from probe.report.shared.common import (
    CURVES_CAPTION,
    asked_block,
    baseline_text,
    environment_block,
    loading_text,
    metric_text,
    partial_note,
)
from probe.report.shared.diagnosis_text import diagnosis_block
from probe.report.shared.markdown import code_cell, command, escape, fenced, image, page, table
from probe.search.records.objective import LOSS
from probe.single.records import TrainResult
from probe.training.records import EpochReport
from probe.units import format_bytes, format_count, format_seconds, format_value

HISTORY_FILE = "history.csv"
CURVES_PLOT = "learning_curves.png"
MAX_ROWS = 12
"""Of the table of epochs: the first and the last ones where there are more."""

_PARTIAL = {
    "interrupted": "the training was interrupted; curves and weights are those of its last whole epoch.",
    "diverged": "the training diverged: its loss was no longer a finite number. Curves and weights are those before that.",
    "oom": "the training ran out of memory. Curves and weights are those of its last whole epoch.",
}


def train_page(result: TrainResult, plots: Sequence[str]) -> str:
    """Markdown; `plots` are the files that could be drawn."""
    return page(
        [
            f"# Training: {escape(result.name)}",
            partial_note(_PARTIAL.get(result.stopped_by)),
            answer(result),
            _trust(result),
            warnings_block(result.warnings),
            asked_block(result.meta, _asked(result)),
            "## Curves" if result.reports else None,
            image(CURVES_PLOT, CURVES_CAPTION) if CURVES_PLOT in plots else None,
            fit_table(result.summary, result.weights),
            *([] if result.diagnosis is None else diagnosis_block(result.diagnosis)),
            *_epochs_blocks(result),
            "## The weights",
            _weights_text(result),
            "## Hyperparameters",
            table(["", ""], [[code_cell(name), escape(format_value(value))] for name, value in result.params.items()])
            if result.params
            else "None: all are the task's own.",
            "## What it cost",
            _cost(result),
            "## Run it again",
            _again(result),
            environment_block(result.meta),
        ]
    )


def answer(result: TrainResult) -> str:
    """The answer in one bold sentence: the test score where there is one, else the validation value."""
    if not result.reports:
        return "**Not one epoch was trained to its end.**"
    after = f"after {format_count(len(result.reports))} epoch{'' if len(result.reports) == 1 else 's'}"
    told = []
    if result.test is not None:
        test = result.test
        interval = ""
        if test.low is not None and test.high is not None:
            interval = f", 95 % interval {metric_text(test.metric, test.low)} to {metric_text(test.metric, test.high)}"
        score = f"{test.metric} {metric_text(test.metric, test.value)}"
        told.append(
            f"Test {score} ({format_count(test.num_samples)} samples{interval}){baseline_text(test, result.mode)}"
        )
    if result.last_value is not None:
        told.append(f"{value_name(result)} {metric_text(result.metric, result.last_value)}")
    if not told:
        told.append(f"Training loss {format_value(result.reports[-1].train_loss)}")
    text = f"{'; '.join(told)}, {after}"
    return f"**{escape(text[0].upper() + text[1:])}.**"


def value_name(result: TrainResult) -> str:
    return "validation loss" if result.metric == LOSS else f"validation {result.metric}"


def best_note(result: TrainResult) -> str | None:
    """Where an earlier epoch was better than the last one, whose weights are kept."""
    if result.best_epoch is None or result.best_value is None or result.best_value == result.last_value:
        return None
    value = metric_text(result.metric, result.best_value)
    return f"the best {value_name(result)} was {value}, after epoch {result.best_epoch}"


def _trust(result: TrainResult) -> str | None:
    if not result.reports:
        return "What to try next: a lower learning rate if the loss diverged, a smaller batch size if memory ran out."
    told = []
    if result.test is not None:
        told.append(
            "The test part was scored once, after the last epoch"
            + ("." if result.test.num_shared else ", and decided nothing.")
        )
    elif result.num_test is not None:
        told.append("The test part was not scored, as the training did not come to its end.")
    note = best_note(result)
    if note is not None:
        told.append(f"The weights are the last epoch's; {escape(note)} (chosen afterwards, so a little optimistic).")
    return " ".join(told) or None


def _asked(result: TrainResult) -> list[tuple[str, str]]:
    parts = [("training", result.num_train), ("validation", result.num_val), ("test", result.num_test)]
    samples = ", ".join(f"{format_count(count)} {name}" for name, count in parts if count is not None)
    told = f"{samples} samples" + (" (validation trained on)" if result.all_data else "")
    return [
        ("recipe", escape(result.name)),
        ("task", escape(result.task)),
        ("data", told),
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
    return [
        "### Epochs",
        table(header, rows, right=tuple(range(len(header)))),
        f"All of them, with every figure: {file}.",
    ]


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
        return "None were kept."
    epochs = format_count(len(result.reports))
    return (
        f"[{file}]({file}) holds the weights after epoch {epochs}. Build the model as the task does, then "
        f"{loading_text(file)}; tied weights are stored once and tied again."
    )


def _cost(result: TrainResult) -> str:
    rows = [["epochs", format_count(len(result.reports))], ["time", format_seconds(result.seconds)]]
    if result.memory is not None:
        rows.append(["peak memory", format_bytes(result.memory.peak_reserved_bytes)])
    return table(["", ""], rows, right=(1,))


def _again(result: TrainResult) -> str:
    typed = command(result.meta.argv)
    how = "It was called from Python, with this recipe:" if typed is None else "The recipe as it ran:"
    return page([None if typed is None else fenced(typed, "sh"), how, fenced(result.recipe, "toml")]).rstrip()
