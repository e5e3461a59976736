"""The report of the training of one configuration: the summary, the page, the plot, and `history.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from probe.files import write_csv
from probe.report.search.regularization import fit_table
from probe.report.shared.diagnosis_text import diagnosis_block, diagnosis_line
from probe.report.shared.markdown import (
    CURVES_CAPTION,
    IN_SETTINGS,
    code_cell,
    escape,
    link,
    loading_text,
    plot_block,
    reproduce_blocks,
    result_page,
    settings_block,
    summary_blocks,
    table,
)
from probe.report.shared.summary import Line, Summary, labelled
from probe.report.shared.wording import baseline_text, metric_text, objective_text, plural, score_text
from probe.single.records import TrainResult
from probe.training.records import EpochReport
from probe.units import format_bytes, format_count, format_seconds, format_value

if TYPE_CHECKING:
    from probe.report.shared.plots import Drawings

CURVES_PLOT = "learning_curves.png"
HISTORY_FILE = "history.csv"
MAX_ROWS = 12
"""Rows of the table of epochs; of more epochs the first and the last ones are shown."""

_ENDS = {
    "finished": "all epochs were trained",
    "interrupted": "interrupted",
    "diverged": "the loss diverged",
    "oom": "out of memory",
}


def train_summary(result: TrainResult) -> Summary:
    """The scores, what the curves show, and the cost."""
    lines: list[Line] = []
    if result.test is not None:
        lines += labelled("Test", [score_text(result.test), baseline_text(result.test, result.mode)])
    if result.weights_file is not None:
        lines.append(("Weights", f"{result.weights_file}, after epoch {len(result.reports)}"))
    lines += [("Task", result.task), ("Device", result.meta.device)]
    evidence = [best_epoch_text(result), None if result.diagnosis is None else diagnosis_line(result.diagnosis)]
    lines += labelled("Evidence", evidence)
    lines += labelled("Warning", result.warnings)
    if not result.reports:
        next_step = "a lower learning rate if the loss diverged, a smaller batch size if memory ran out"
        lines.append(("Next", next_step))
    lines.append(("Cost", _cost_text(result)))
    return Summary(answer=_answer(result), lines=tuple(lines))


def _answer(result: TrainResult) -> str:
    """The test score and the validation value, or the training loss without both."""
    if not result.reports:
        return "no epoch was completed"
    scores = []
    if result.last_value is not None:
        scores.append(f"{objective_text(result.metric)} {metric_text(result.metric, result.last_value)}")
    if result.test is not None:
        scores.append(f"test {result.test.metric} {metric_text(result.test.metric, result.test.value)}")
    values = ", ".join(scores) or f"training loss {format_value(result.reports[-1].train_loss)}"
    return f"{values} after {plural(len(result.reports), 'epoch')}"


def best_epoch_text(result: TrainResult) -> str | None:
    """The best epoch, if it is not the last one, whose weights are stored; None otherwise."""
    if result.best_epoch is None or result.best_value is None or result.best_value == result.last_value:
        return None
    value = metric_text(result.metric, result.best_value)
    return f"the best {objective_text(result.metric)} was {value}, after epoch {result.best_epoch}"


def _cost_text(result: TrainResult) -> str:
    done = f"{format_count(len(result.reports))} of {plural(result.epochs, 'epoch')}, {format_seconds(result.seconds)}"
    memory = "" if result.memory is None else f", peak memory {format_bytes(result.memory.peak_reserved_bytes)}"
    return f"{done}{memory}; {_ENDS[result.stopped_by]}"


_PARTIAL = {
    "interrupted": "the training was interrupted; curves and weights are those of its last complete epoch.",
    "diverged": "the training diverged: its loss was no longer finite. Curves and weights are those before that.",
    "oom": "the training ran out of memory. Curves and weights are those of its last complete epoch.",
}


def train_page(result: TrainResult, plots: Sequence[str]) -> str:
    """Markdown; `plots` are the files that were drawn."""
    params = [[code_cell(name), escape(format_value(value))] for name, value in result.params.items()]
    blocks = [
        *summary_blocks(train_summary(result), without=(*IN_SETTINGS, "Weights")),
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
    ]
    title = f"Training: {escape(result.name)}"
    return result_page(title, result.meta, blocks, partial=_PARTIAL.get(result.stopped_by))


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
    return [
        "### Epochs",
        table(header, rows, right=tuple(range(len(header)))),
        f"All epochs with all numbers: {link(HISTORY_FILE)}.",
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
        return "No weights were stored."
    epochs = format_count(len(result.reports))
    return (
        f"{link(file)} holds the weights after epoch {epochs}. Build the model as the task does, then call "
        f"{loading_text(file)}, which also restores tied weights, stored once."
    )


def history_rows(reports: Sequence[EpochReport]) -> tuple[list[str], list[list[float | int | None]]]:
    """Header and rows: epoch, seconds, train_loss, val_loss, `train_<metric>` and `val_<metric>`; None if not measured."""
    names = list(dict.fromkeys(name for report in reports for name in (*report.metrics, *report.undefined)))
    trained = list(dict.fromkeys(name for report in reports for name in report.train_metrics))
    header = ["epoch", "seconds", "train_loss", "val_loss"]
    header += [f"train_{name}" for name in trained] + [f"val_{name}" for name in names]
    rows = []
    for report in reports:
        metrics = [*map(report.train_metrics.get, trained), *map(report.metrics.get, names)]
        rows.append([report.epoch, report.seconds, report.train_loss, report.val_loss, *metrics])
    return header, rows


def write_train_files(result: TrainResult, folder: Path) -> None:
    """Write history.csv."""
    write_csv(folder / HISTORY_FILE, *history_rows(result.reports))


def train_plots(result: TrainResult) -> Drawings:
    """The plots of the report."""
    from probe.report.shared.plots import draw_curves

    title = f"{result.name}: {result.task}"
    return {CURVES_PLOT: partial(draw_curves, result.reports, title=title, metric=result.metric)}
