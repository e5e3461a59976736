"""A training in a few lines: what it begins with, each epoch, and the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.cli.answers.layout import Rows, labelled, plural
from probe.report.shared.common import baseline_text, metric_text
from probe.report.shared.diagnosis_text import diagnosis_line
from probe.report.train.page import best_note, value_name
from probe.single.records import TrainResult, TrainStarted
from probe.units import format_bytes, format_count, format_seconds, format_value

if TYPE_CHECKING:
    from probe.training.records import EpochReport

_ENDS = {
    "finished": "all epochs were trained",
    "interrupted": "interrupted",
    "diverged": "the loss diverged",
    "oom": "memory ran out",
}


def describe_training(plan: TrainStarted) -> str:
    """`training 9 epochs on 1,150 samples, validated on 288`."""
    told = f"training {plural(plan.epochs, 'epoch')} on {plural(plan.num_train, 'sample')}"
    return told if plan.num_val is None else f"{told}, validated on {format_count(plan.num_val)}"


def describe_epoch(report: EpochReport, plan: TrainStarted) -> str:
    """`epoch 3 of 9: training loss 0.69, validation loss 0.2, accuracy 94.79 %, 506 ms`."""
    return f"epoch {report.epoch} of {plan.epochs}: {', '.join(epoch_parts(report, plan.metric))}"


def epoch_parts(report: EpochReport, metric: str) -> list[str]:
    """The figures of one epoch, each with its name; of the metrics the objective's only."""
    parts = [f"training loss {format_value(report.train_loss)}"]
    if report.val_loss is not None:
        parts.append(f"validation loss {format_value(report.val_loss)}")
    if metric in report.metrics:
        parts.append(f"{metric} {metric_text(metric, report.metrics[metric])}")
    return [*parts, format_seconds(report.seconds)]


def train_rows(result: TrainResult) -> Rows:
    """What `probe train` prints at its end, without the place of the report."""
    rows: Rows = [("Answer", _answer(result))]
    test = result.test
    if test is not None:
        band = ""
        if test.low is not None and test.high is not None:
            band = f" (95 % interval: {metric_text(test.metric, test.low)} to {metric_text(test.metric, test.high)})"
        score = metric_text(test.metric, test.value)
        rows.append(("Test", f"{test.metric} {score}{band} on {plural(test.num_samples, 'sample')}"))
        compared = baseline_text(test, result.mode).removeprefix(", ")
        rows += [("", compared)] if compared else []
    if result.weights_file is not None:
        rows.append(("Weights", f"{result.weights_file}, after epoch {len(result.reports)}"))
    rows.append(("Task", result.task))
    rows.append(("Device", result.meta.device))
    evidence = [best_note(result)] if best_note(result) else []
    if result.diagnosis is not None:
        evidence.append(diagnosis_line(result.diagnosis))
    rows += labelled("Evidence", [line for line in evidence if line])
    rows += labelled("Warning", result.warnings)
    rows.append(("Cost", _cost(result)))
    return rows


def _answer(result: TrainResult) -> str:
    if not result.reports:
        return "no epoch was trained to its end"
    after = f"after {plural(len(result.reports), 'epoch')}"
    if result.last_value is not None:
        return f"{value_name(result)} {metric_text(result.metric, result.last_value)} {after}"
    return f"training loss {format_value(result.reports[-1].train_loss)} {after}"


def _cost(result: TrainResult) -> str:
    done = f"{format_count(len(result.reports))} of {plural(result.epochs, 'epoch')}, {format_seconds(result.seconds)}"
    memory = "" if result.memory is None else f", peak memory {format_bytes(result.memory.peak_reserved_bytes)}"
    return f"{done}{memory}; {_ENDS[result.stopped_by]}"
