"""A result in a few lines: the answer, what it rests on, what it cost. Records in, text out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from probe.cli.answers.batch import batch_rows, comparison_rows
from probe.cli.answers.compare import search_comparison_rows
from probe.cli.answers.layout import Rows, labelled, layout_rows, plural
from probe.cli.answers.lr import lr_comparison_rows, lr_rows
from probe.cli.answers.train import train_rows
from probe.report.batch.text import limit_text
from probe.report.search.refinement_summary import refinement_facts, refinement_text
from probe.report.search.summary import failures, importance_text, optimism_text, status_counts, ties_text, tried_text
from probe.report.shared.common import baseline_text, metric_text, test_note
from probe.report.shared.diagnosis_text import diagnosis_line
from probe.search.analysis.reasons import reason
from probe.units import format_count, format_seconds, format_value

if TYPE_CHECKING:
    from probe.report.store import Result
    from probe.search.records.search import ParamValue, SearchResult, TrialResult

__all__ = ["Rows", "answer_rows", "describe_trial", "labelled", "layout_rows", "params_text"]

_ENDS = {
    "trials": "the budget of trials was used up",
    "epochs": "the budget of epochs was used up",
    "time": "the budget of time was used up",
    "refined": "gradient steps led no further",
    "failures": "too many trials failed",
    "interrupted": "interrupted",
}


MAX_REASONS = 3
"""For which trials failed, on the screen; trials.csv has all of them."""


def answer_rows(result: Result) -> Rows:
    """What the command prints at its end, without the place of the report."""
    if result.kind == "batch":
        return batch_rows(result)
    if result.kind == "batch_comparison":
        return comparison_rows(result)
    if result.kind == "lr":
        return lr_rows(result)
    if result.kind == "lr_comparison":
        return lr_comparison_rows(result)
    if result.kind == "train":
        return train_rows(result)
    if result.kind == "search_comparison":
        return search_comparison_rows(result)
    return search_rows(result)


def search_rows(result: SearchResult) -> Rows:
    rows: Rows
    if result.best is None:
        rows = [("Answer", "no trial was completed")]
    else:
        score = metric_text(result.metric, result.best.value)
        best = f"validation {result.metric} {score}, trial {result.best.number}:"
        settings = [f"{name} = {format_value(value)}" for name, value in result.best.params.items()]
        rows = [("Answer", best), *(("", line) for line in _in_columns(settings))]
    if result.test is not None:
        rows.append(("Test", _describe_test(result)))
        compared = baseline_text(result.test, result.mode).removeprefix(", ")
        rows += [("", compared)] if compared else []
    rows.append(("Task", result.task))
    rows.append(("Device", f"{result.meta.device}, {plural(result.num_workers, 'worker')}"))
    rows += labelled("Evidence", _search_evidence(result))
    rows += labelled("Failed", _failure_lines(result))
    limit = None if result.batch_probe is None else limit_text(result.batch_probe)
    rows += labelled("Warning", [*result.warnings, *([limit] if limit else [])])
    rows.append(("Cost", _search_cost(result)))
    return rows


def params_text(params: Mapping[str, ParamValue], constants: Collection[str] = ()) -> str:
    """A configuration in one line, without what every configuration has in common: `lr 0.0123, width 16`."""
    return ", ".join(f"{name} {format_value(value)}" for name, value in params.items() if name not in constants)


def describe_trial(trial: TrialResult, constants: Collection[str] = ()) -> str:
    """A trial at the end of a rung: `trial 7 after 3 epochs: 0.9543 (lr 0.0032, width 16)`."""
    value = format_value(trial.value) if trial.value is not None else trial.status
    why = f": {reason(trial.message)}" if trial.value is None and trial.message else ""
    params = params_text(trial.params, constants)
    return f"trial {trial.number} after {plural(trial.epochs, 'epoch')}: {value}{why} ({params})"


def _describe_test(result: SearchResult) -> str:
    test = result.test
    if test is None:
        return ""
    band = ""
    if test.low is not None and test.high is not None:
        band = f" (95 % interval: {metric_text(test.metric, test.low)} to {metric_text(test.metric, test.high)})"
    fit = f", after a final fit of {plural(result.final.epochs, 'epoch')} on train + validation" if result.final else ""
    score = metric_text(test.metric, test.value)
    comma = "" if test.is_untouched else ","
    return f"{test.metric} {score}{band} on {plural(test.num_samples, 'sample')}{comma} {test_note(test)}{fit}"


def _search_evidence(result: SearchResult) -> list[str]:
    counts = ", ".join(f"{count} {status}" for status, count in status_counts(result).items())
    lines = [f"{plural(len(result.trials), 'trial')}: {counts}" if counts else "no trial was started"]
    refined = refinement_facts(result)
    if refined is not None:
        lines.append(refinement_text(refined))
    chosen = optimism_text(result)
    if result.best is not None and chosen is not None:
        lines.append(f"the validation {result.metric} is {chosen}: optimistic")
    lines += [text for text in (ties_text(result), importance_text(result)) if text is not None]
    if result.diagnosis is not None:
        lines.append(f"the winner: {diagnosis_line(result.diagnosis)}")
    if result.sampler_reason is not None:
        lines.append(f"sampler: {result.sampler_reason}")
    if result.scheduler_reason is not None:
        lines.append(f"ladder: {result.scheduler_reason}")
    return lines


def _failure_lines(result: SearchResult) -> list[str]:
    """One for each reason, at most MAX_REASONS of them."""
    found = failures(result)
    lines = [
        f"{plural(len(numbers), 'trial')}, first trial {numbers[0]}: {why}"
        for why, numbers in list(found.items())[:MAX_REASONS]
    ]
    return lines + ([f"and for {plural(len(found) - MAX_REASONS, 'other reason')}"] if len(found) > MAX_REASONS else [])


def _search_cost(result: SearchResult) -> str:
    spent = result.spent
    probes = f" ({format_count(spent.probe_epochs)} for probes)" if spent.probe_epochs else ""
    final = f" + {plural(spent.final_epochs, 'epoch')} of the final fit" if spent.final_epochs else ""
    lost = f", {plural(spent.lost_epochs, 'epoch')} lost when it was stopped" if spent.lost_epochs else ""
    return (
        f"{plural(spent.trials, 'trial')}, {format_count(spent.epochs)} epochs{probes}{final}{lost}, "
        f"{format_seconds(spent.seconds)}; {tried_text(result) if result.stopped_by == 'space' else _ENDS[result.stopped_by]}"
    )


def _in_columns(items: Sequence[str], *, width: int = 64) -> list[str]:
    """Short items side by side, comma-separated, no line wider than `width` unless one item is."""
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + len(item) + 2 <= width:
            lines[-1] += f", {item}"
        else:
            lines.append(item)
    return lines
