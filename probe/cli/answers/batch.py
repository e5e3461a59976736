"""The answer of `probe batch` in a few lines: measured, predicted, or several ways to train compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.batch.decide import timed_by_size
from probe.batch.errors_by_size import is_suspect
from probe.cli.answers.layout import Rows, labelled, plural
from probe.cli.answers.tables import TextTable
from probe.report.batch.comparison_page import comparison_answer
from probe.report.batch.comparison_summary import cap_text, comparison_table, is_predicted
from probe.report.batch.sample_text import confirmation_text, ranking_texts
from probe.report.batch.summary import deciding_failures, headroom_bytes, is_confirmed, nothing_should_fit, rate_text
from probe.report.batch.text import (
    check_text,
    data_bound_text,
    gradient_accumulation_text,
    needs_text,
    predicted_answer,
    quote,
    result_warnings,
    too_small_text,
    traces_text,
)
from probe.units import format_bytes, format_count, format_gpu_memory, format_percent, format_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.batch.prediction_records import Prediction, PredictionInfo
    from probe.batch.records import Alternative, Attempt, BatchComparison, BatchResult

MEASURE_NEXT = "run the same command on the GPU itself: it measures"
_CAPS = {
    "max": "--max ended the sweep there",
    "data": "the training set has no more samples",
    "kernel_limit": "the next size passes a limit of a GPU kernel, not of memory",
    "error": "the error counts as a limit, since smaller batches run",
}
OUTCOMES = {
    "fits": "fits",
    "oom": "runs out of memory",
    "oom_in_eval": "runs out of memory in validation",
    "thrashes": "fits only by emptying the allocator's cache again and again",
    "kernel_limit": "passes a limit of a GPU kernel, not of memory",
    "host_oom": "runs out of the host's memory",
    "crashed": "kills its process",
    "error": "ends in an error",
}


def batch_rows(result: BatchResult) -> Rows:
    """What was measured, or predicted where nothing could be."""
    if result.stopped_by == "predicted":
        return _predicted_rows(result)
    rows: Rows = [("Answer", _batch_answer(result))]
    rows += _alternative_rows(result.alternatives)
    rows += [("Task", _setup(result)), ("Device", result.meta.device)]
    confirmed = confirmation_text(result)
    evidence = [*map(describe_attempt, _deciding_attempts(result)), *([confirmed] if confirmed else [])]
    rows += labelled("Evidence", [*evidence, *ranking_texts(result), *_prediction_lines(result)])
    if result.capped_by is not None and result.largest_fit is not None:
        rows.append(("", f"Larger batches were not tried: {_CAPS[result.capped_by]}."))
    if (refused := too_small_text(result)) is not None:
        rows.append(("", refused))
    headroom = headroom_bytes(result)
    if headroom is not None and result.limit_bytes:
        share = format_percent(headroom / result.limit_bytes, decimals=0)
        of = f"{format_gpu_memory(result.limit_bytes)} left at batch {format_count(result.largest_fit or 0)}"
        rows.append(("Headroom", f"{format_bytes(headroom)} ({share}) of {of}"))
    rows += labelled("Warning", result_warnings(result))
    rows.append(("Cost", f"{plural(len(result.attempts), 'attempt')}, {format_seconds(result.seconds)}"))
    return rows


def comparison_rows(result: BatchComparison) -> Rows:
    """The ways to train, a line each."""
    answer = comparison_answer(result)
    rows: Rows = [("Answer", answer[0].lower() + answer[1:])]
    if result.variants:
        made = comparison_table(result)
        if made.common:
            rows.append(("", f"in common: {made.common}"))
        settings = made.num_settings
        # on a narrow terminal cards in the middle go, the larger ones first, or the recommended size and megapixels
        cards = tuple(range(len(made.header) - 3, settings, -1))
        optional = cards if is_predicted(result) else (settings + 1, len(made.header) - 2)
        rows.append(("", TextTable(header=made.header, rows=made.rows, num_left=settings, optional=optional)))
        note = cap_text(result)
        if note is not None:
            rows.append(("", note))
    rows += [("Task", f"{result.task}, {result.optimizer}"), ("Device", result.meta.device)]
    rows += labelled("Warning", list(dict.fromkeys(w for v in result.variants for w in result_warnings(v.result))))
    if is_predicted(result):
        rows += [("Next", MEASURE_NEXT)]
    ways = f"{format_count(len(result.variants))} way{'' if len(result.variants) == 1 else 's'} to train"
    rows.append(("Cost", f"{ways}, {format_seconds(result.seconds)}"))
    return rows


def describe_attempt(attempt: Attempt) -> str:
    """One attempt in one line: `batch 256 fits: 1,234 samples/s ± 0.8 %, peak 912 MiB`. Errors are quoted."""
    purpose = "" if attempt.purpose == "size" else f" ({attempt.purpose})"
    head = f"batch {attempt.batch_size}{purpose}"
    peak = f"{format_bytes(attempt.memory.peak_reserved_bytes)}" if attempt.memory else None
    if attempt.fits:
        return f"{head} fits: {rate_text(attempt)}" + (f", peak {peak}" if peak else "")
    quoted = f": {quote(attempt)}" if is_suspect(attempt) and attempt.message else ""
    return f"{head} {OUTCOMES[attempt.outcome]}{quoted}"


def describe_prediction(prediction_info: PredictionInfo) -> str | None:
    """A forecast in one line: what the last two sizes of its curve take, the second of which is too large."""
    if prediction_info.failure is not None:
        return f"no prediction: {prediction_info.failure}"
    if not prediction_info.curve:
        return None
    sizes = [
        f"batch {format_count(p.batch_size)} takes {format_bytes(p.peak_bytes)}" for p in prediction_info.curve[-2:]
    ]
    return f"predicted: {', '.join(sizes)}"


def _predicted_rows(result: BatchResult) -> Rows:
    rows: Rows = [("Answer", predicted_answer(result))]
    if result.predictions:
        rows.append(("", _cards_table(result.predictions)))
    rows += [("", text) for text in (needs_text(result), data_bound_text(result)) if text]
    if nothing_should_fit(result) and not result.alternatives:
        rows.append(("Instead", "a smaller input (--img), a smaller model, --precision bf16, or more memory"))
    rows += _alternative_rows(result.alternatives)
    rows += [("Task", _setup(result)), ("Device", result.meta.device)]
    prediction_info = result.prediction_info
    if prediction_info is not None and prediction_info.traced_as is not None:
        unseen = [f"not seen: {text}" for text in prediction_info.unseen]
        checked = [text for text in (traces_text(prediction_info),) if text]
        rows += labelled(
            "Evidence", [f"training steps traced without data ({prediction_info.traced_as})", *checked, *unseen]
        )
    elif prediction_info is not None:
        rows.append(("Evidence", f"no prediction: {prediction_info.failure}"))
    rows += [("Next", MEASURE_NEXT), ("Cost", format_seconds(result.seconds))]
    return rows


def _cards_table(predictions: Sequence[Prediction]) -> TextTable:
    """What fills each card; the last columns give way on a narrow terminal, and stand in the report."""
    rows = []
    for prediction in predictions:
        parts = prediction.breakdown
        rest = parts.data_bytes + parts.cache_bytes + parts.context_bytes
        filled = (
            parts.weights_bytes,
            parts.gradients_bytes,
            parts.optimizer_state_bytes,
            parts.activations_bytes,
            parts.workspace_bytes,
            rest,
        )
        batch = "-" if prediction.largest_fit is None else format_count(prediction.largest_fit)
        card = format_gpu_memory(prediction.memory_bytes)
        rows.append((card, batch, *(format_bytes(size) if size else "0" for size in (prediction.peak_bytes, *filled))))
    header = ("card", "batch", "takes", "weights", "gradients", "optimizer", "activations", "workspace", "rest")
    return TextTable(header=header, rows=tuple(rows), optional=(8, 7, 4, 5, 3))


def _alternative_rows(alternatives: tuple[Alternative, ...]) -> Rows:
    """The plan where nothing fits."""
    if not alternatives:
        return []
    cells = [(a.change, format_count(a.largest_fit), format_bytes(a.peak_bytes)) for a in alternatives]
    made = TextTable(header=("change", "batch that should fit", "takes"), rows=tuple(cells), num_left=1)
    return [("Instead", made), ("", gradient_accumulation_text(alternatives))]


def _prediction_lines(result: BatchResult) -> list[str]:
    prediction_info = result.prediction_info
    if prediction_info is None:
        return []
    if prediction_info.failure is not None:
        return [f"no prediction: {prediction_info.failure}"]
    text = check_text(result)
    return [] if text is None else [text]


def _batch_answer(result: BatchResult) -> str:
    if result.largest_fit is None:
        return "nothing fits, not even a batch of 1" if result.stopped_by == "nothing_fits" else "none yet: no size fit"
    answer = f"the largest batch that fits is {result.largest_fit}{' (confirmed)' if is_confirmed(result) else ''}"
    if result.recommended == result.largest_fit:
        return f"{answer}; no smaller one is as fast"
    if result.recommended is not None:
        return f"{answer}; {result.recommended} is as fast, within 5 %"
    return answer


def _deciding_attempts(result: BatchResult) -> list[Attempt]:
    """What the answer rests on: the recommended size, the largest that fits, the one that does not."""
    timed = timed_by_size(result.attempts)
    sizes = {size for size in (result.recommended, result.largest_fit) if size is not None}
    return [timed[size] for size in sorted(sizes) if size in timed] + deciding_failures(result)


def _setup(result: BatchResult) -> str:
    return f"{result.task}, {result.optimizer}, {result.precision}"
