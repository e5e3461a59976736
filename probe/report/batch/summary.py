"""The summary of a batch probe."""

from __future__ import annotations

from collections.abc import Sequence

from probe.batch.decide import timed_by_size
from probe.batch.prediction_records import Prediction
from probe.batch.records import Alternative, BatchResult
from probe.report.batch.figures import confirmation, deciding_failures, headroom_bytes, nothing_should_fit
from probe.report.batch.sample_text import confirmation_text, ranking_texts
from probe.report.batch.sentences import (
    CAPS,
    attempt_text,
    batch_warnings,
    check_text,
    data_bound_text,
    gradient_accumulation_text,
    needs_text,
    predicted_answer,
    prediction_text,
    too_small_text,
    traces_text,
)
from probe.report.shared.summary import Line, Summary, Table, labelled
from probe.report.shared.wording import NONE, cell, plural
from probe.units import format_bytes, format_count, format_gpu_memory, format_percent, format_seconds

_PARTS = (
    ("weights", "weights_bytes"),
    ("gradients", "gradients_bytes"),
    ("optimizer", "optimizer_state_bytes"),
    ("activations", "activations_bytes"),
    ("data", "data_bytes"),
    ("workspace", "workspace_bytes"),
    ("cache", "cache_bytes"),
    ("context", "context_bytes"),
)
_FIRST_LEFT_OUT = ("context", "cache", "data", "workspace", "gradients", "optimizer", "weights")
"""Columns that a narrow terminal leaves out, in this order."""
MEASURE_NEXT = "run the same command on the GPU to measure it"


def batch_summary(result: BatchResult) -> Summary:
    """What was measured, or predicted if there was no GPU to measure on."""
    if result.stopped_by == "predicted":
        return _predicted_summary(result)
    lines = [*_alternative_lines(result.alternatives), ("Task", _task_text(result)), ("Device", result.meta.device)]
    lines += labelled("Evidence", _evidence(result)) + labelled("Headroom", [_headroom_text(result)])
    lines += labelled("Warning", batch_warnings(result))
    if result.largest_fit is None and not result.alternatives:
        lines.append(("Next", what_to_try(result)))
    lines.append(("Cost", f"{plural(len(result.attempts), 'attempt')}, {format_seconds(result.seconds)}"))
    return Summary(answer=batch_answer(result), lines=tuple(lines))


def batch_answer(result: BatchResult) -> str:
    """The largest batch that fits and the recommended one, in one sentence."""
    if result.stopped_by == "predicted":
        return predicted_answer(result)
    if result.largest_fit is None:
        tried = sorted({attempt.batch_size for attempt in result.attempts})
        if not tried:
            return "nothing was measured, so there is no answer"
        if tried[0] == 1 and result.stopped_by == "nothing_fits":
            return "no batch size fits, not even 1"
        return f"no batch size is known to fit; the smallest one tried is {format_count(tried[0])}"
    confirmed = "not confirmed" if confirmation(result) is None else "confirmed"
    answer = f"the largest batch that fits is {format_count(result.largest_fit)} ({confirmed} by a longer run)"
    if result.recommended is None:
        return answer
    if result.recommended == result.largest_fit:
        return f"{answer}; it is also recommended, as no smaller size is within 5 % of its throughput"
    recommended = format_count(result.recommended)
    return f"{answer}; recommended is {recommended}, the smallest size within 5 % of the best throughput"


def what_to_try(result: BatchResult) -> str:
    """What may help if nothing fits."""
    changes = ["a smaller input (--img)", "a smaller model", "--activation-checkpointing"]
    changes += ["--precision bf16"] if result.precision in ("fp32", "tf32") else []
    if result.optimizer != "sgd":
        changes.append(f"--optimizer sgd (it keeps less state than {result.optimizer})")
    return f"try {', '.join(changes[:-1])}, or {changes[-1]}"


def _predicted_summary(result: BatchResult) -> Summary:
    lines: list[Line] = [("", gpu_table(result.predictions))] if result.predictions else []
    lines += labelled("", [needs_text(result), data_bound_text(result)])
    if nothing_should_fit(result) and not result.alternatives:
        lines.append(("Instead", what_to_try(result)))
    lines += _alternative_lines(result.alternatives)
    lines += [("Task", _task_text(result)), ("Device", result.meta.device)]
    prediction_info = result.prediction_info
    if prediction_info is not None and prediction_info.traced_as is not None:
        traced = f"training steps traced without data ({prediction_info.traced_as})"
        unseen = [f"not modelled: {text}" for text in prediction_info.unseen]
        lines += labelled("Evidence", [traced, traces_text(prediction_info), *unseen])
    elif prediction_info is not None:
        lines.append(("Evidence", f"no prediction: {prediction_info.failure or 'unknown reason'}"))
    lines += [("Next", MEASURE_NEXT), ("Cost", f"{format_seconds(result.seconds)}, without a GPU")]
    return Summary(answer=predicted_answer(result), lines=tuple(lines))


def _evidence(result: BatchResult) -> list[str | None]:
    """The deciding attempts, the confirming run, the samples, the prediction, and why no larger size was tried."""
    timed, prediction_info = timed_by_size(result.attempts), result.prediction_info
    sizes = sorted({size for size in (result.recommended, result.largest_fit) if size is not None})
    deciding = [timed[size] for size in sizes if size in timed] + deciding_failures(result)
    failed = prediction_info is not None and prediction_info.failure is not None
    prediction = prediction_text(prediction_info) if prediction_info is not None and failed else check_text(result)
    lines = [*map(attempt_text, deciding), confirmation_text(result), *ranking_texts(result), prediction]
    if result.capped_by is not None and result.largest_fit is not None:
        lines.append(f"larger batches were not tried: {CAPS[result.capped_by]}")
    return [*lines, too_small_text(result)]


def _headroom_text(result: BatchResult) -> str | None:
    """Memory left at the largest size: `3.79 GiB (47 % of 8 GiB) at batch 64`."""
    headroom = headroom_bytes(result)
    if headroom is None or not result.limit_bytes:
        return None
    fraction = format_percent(headroom / result.limit_bytes, decimals=0)
    limit, size = format_gpu_memory(result.limit_bytes), format_count(result.largest_fit or 0)
    return f"{format_bytes(headroom)} ({fraction} of {limit}) at batch {size}"


def gpu_table(predictions: Sequence[Prediction]) -> Table:
    """For each GPU the largest size that should fit and what fills the memory, without parts that are always 0."""
    parts = [(name, field) for name, field in _PARTS if any(getattr(p.breakdown, field) for p in predictions)]
    names = ["GPU", "batch", "needs", *(name for name, _ in parts)]
    rows = []
    for prediction in predictions:
        batch = cell(prediction.largest_fit, format_count, none=NONE)
        sizes = [prediction.peak_bytes, *(getattr(prediction.breakdown, field) for _, field in parts)]
        cells = [format_bytes(size) if size else "0" for size in sizes]
        rows.append((format_gpu_memory(prediction.memory_bytes), batch, *cells))
    optional = tuple(names.index(name) for name in _FIRST_LEFT_OUT if name in names)
    return Table(header=tuple(names), rows=tuple(rows), optional=optional)


def _alternative_lines(alternatives: Sequence[Alternative]) -> list[Line]:
    """Changes with which a batch should fit, if nothing fits without them."""
    if not alternatives:
        return []
    cells = [(a.change, format_count(a.largest_fit), format_bytes(a.peak_bytes)) for a in alternatives]
    table = Table(header=("change", "batch that should fit", "needs"), rows=tuple(cells), num_left=1)
    return labelled("Instead", [table, gradient_accumulation_text(alternatives)])


def _task_text(result: BatchResult) -> str:
    return f"{result.task}, {result.optimizer}, {result.precision}"
