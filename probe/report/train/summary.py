"""The summary of the training of one configuration."""

from __future__ import annotations

from probe.report.shared.diagnosis_text import diagnosis_line
from probe.report.shared.summary import Line, Summary, labelled
from probe.report.shared.wording import baseline_text, metric_text, objective_text, plural, score_text
from probe.single.records import TrainResult
from probe.units import format_bytes, format_count, format_seconds, format_value

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
        notes = [score_text(result.test), baseline_text(result.test, result.mode)]
        lines += labelled("Test", [text for text in notes if text])
    if result.weights_file is not None:
        lines.append(("Weights", f"{result.weights_file}, after epoch {len(result.reports)}"))
    lines += [("Task", result.task), ("Device", result.meta.device)]
    evidence = [best_epoch_text(result), None if result.diagnosis is None else diagnosis_line(result.diagnosis)]
    lines += labelled("Evidence", [text for text in evidence if text])
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
