"""The report of several ways to train compared, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from probe.batch.records import BatchComparison, Variant
from probe.report.batch.comparison_summary import (
    cap_text,
    comparison_table,
    is_predicted,
    sample_noun,
    short_names,
)
from probe.report.batch.page import answer as batch_answer
from probe.report.batch.page import attempts_table, what_next
from probe.report.batch.prediction_page import prediction_info_block, predictions_table
from probe.report.batch.text import NO_MEASUREMENT, check_text, result_warnings
from probe.report.shared.common import asked_block, environment_block, partial_note
from probe.report.shared.markdown import bullets, escape, image, page, table
from probe.units import format_bytes, format_count, format_seconds

COMPARISON_PLOT = "comparison.png"

_PARTIAL = {
    "interrupted": "the comparison was interrupted, so that rows are missing, and the last one may be unfinished.",
    "error": "the comparison was ended by an error, so that rows are missing.",
}


def comparison_page(result: BatchComparison, plots: Sequence[str]) -> str:
    """Markdown; `plots` are the files that could be drawn."""
    return page(
        [
            f"# Batch sizes compared: {escape(result.task)}",
            partial_note(_PARTIAL.get(result.stopped_by)),
            f"**{escape(comparison_answer(result))}.**",
            _table_block(result),
            *[image(file, _caption(result)) for file in plots if file == COMPARISON_PLOT],
            _reading(result),
            asked_block(result.meta, _asked(result)),
            *_device_block(result),
            "## Each by itself",
            *[block for variant in result.variants for block in _variant_blocks(variant)],
            *_prediction_info_blocks(result),
            "## What it cost",
            f"{format_count(len(result.variants))} ways to train in {format_seconds(result.seconds)}.",
            environment_block(result.meta),
        ]
    )


def comparison_answer(result: BatchComparison) -> str:
    """The span of the largest batches, in words and plain text."""
    if not result.variants:
        return "Nothing was compared, so there is no answer"
    if is_predicted(result):
        return f"What should fit for {format_count(len(result.variants))} ways to train, predicted and not run"
    named = list(zip(short_names(result), [variant.result.largest_fit for variant in result.variants], strict=True))
    fitting = [(largest, name) for name, largest in named if largest is not None]
    if not fitting:
        return "No batch size is known to fit, whichever way"
    (low, low_name), (high, high_name) = (pick(fitting, key=lambda item: item[0]) for pick in (min, max))
    if low == high and len(fitting) == len(named):
        return f"The largest batch that fits is {format_count(low)} in every case"
    span = f"The largest batch that fits is from {format_count(low)} ({low_name}) to {format_count(high)} ({high_name})"
    none = [name for name, largest in named if largest is None]
    if low == high:
        span = f"The largest batch that fits is {format_count(low)}"
    return f"{span}; none for {', '.join(none)}" if none else span


def _table_block(result: BatchComparison) -> str | None:
    if not result.variants:
        return None
    made = comparison_table(result)
    right = range(made.num_settings, len(made.header))
    head = f"In common: {escape(made.common)}." if made.common else ""
    if is_predicted(result):
        head = f"The largest batch for each card. {head}"
    text = table(
        [escape(name) for name in made.header], [[escape(cell) for cell in row] for row in made.rows], right=right
    )
    note = cap_text(result)
    return "\n\n".join([part for part in (head, text, f"{note}." if note else "") if part])


def _caption(result: BatchComparison) -> str:
    if is_predicted(result):
        return "Largest batch that should fit against the memory of the card, a line for each way to train."
    return f"Largest and recommended batch size, and {sample_noun(result)} per second, for each way to train."


def _reading(result: BatchComparison) -> str | None:
    if not result.variants:
        return None
    if is_predicted(result):
        return NO_MEASUREMENT
    noun = sample_noun(result)
    megapixels, smaller = "", "a larger batch"
    if noun == "images":
        megapixels = ", and megapixels per second compare images of different size"
        smaller = "a smaller image or a larger batch"
    return (
        f"Throughput is that at the recommended size, the smallest within 5 % of the best{megapixels}; peak memory is that at "
        f"the largest size. Neither says which way to train reaches the better model: {smaller} has to prove itself in the "
        "search."
    )


def _asked(result: BatchComparison) -> list[tuple[str, str]]:
    rows = [("task", escape(result.task)), ("optimizer", escape(result.optimizer))]
    limits = {variant.result.limit_bytes for variant in result.variants} - {None}
    texts = [format_bytes(limit) for limit in sorted(limit for limit in limits if limit is not None)]
    return [*rows, ("memory limit", ", ".join(texts))] if texts else rows


def _device_block(result: BatchComparison) -> list[str]:
    told = [text for variant in result.variants for text in result_warnings(variant.result)]
    unique = list(dict.fromkeys(told))
    return ["## The device", bullets([escape(text) for text in unique])] if unique else []


def _variant_blocks(variant: Variant) -> list[str | None]:
    """Its answer, then what it rests on, folded away."""
    result = variant.result
    heading = f"### {escape(variant.title)}"
    if result.stopped_by == "predicted":
        return [heading, _folded("the cards", predictions_table(result.predictions))]
    check = check_text(result)
    count = f"{format_count(len(result.attempts))} attempt{'' if len(result.attempts) == 1 else 's'}"
    return [
        heading,
        batch_answer(result),
        what_next(result) if result.stopped_by == "nothing_fits" else None,
        f"Prediction: {escape(check)}." if check else None,
        _folded(f"{count} in {format_seconds(result.seconds)}", attempts_table(result.attempts)),
    ]


def _folded(summary: str, block: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>\n\n{block}\n\n</details>"


def _prediction_info_blocks(result: BatchComparison) -> list[str]:
    """How the first variant was predicted: the others were in the same way."""
    prediction_infos = [
        variant.result.prediction_info for variant in result.variants if variant.result.prediction_info is not None
    ]
    return ["## How it was predicted", prediction_info_block(prediction_infos[0])] if prediction_infos else []
