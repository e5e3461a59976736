"""The report of batch sizes compared over several variants of a training run, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from probe.batch.records import BatchComparison, Variant
from probe.report.batch.comparison_summary import comparison_summary, is_predicted, sample_noun
from probe.report.batch.page import IN_SETTINGS, attempts_table
from probe.report.batch.prediction_page import prediction_info_block
from probe.report.batch.sentences import NOT_MEASURED, check_text
from probe.report.batch.summary import batch_summary, gpu_table
from probe.report.shared.markdown import answer_block, escape, page, summary_blocks, text_table
from probe.report.shared.sections import environment_block, folded, partial_note, plot_block, settings_block
from probe.report.shared.wording import plural, sentence
from probe.units import format_bytes, format_seconds

COMPARISON_PLOT = "comparison.png"

_PARTIAL = {
    "interrupted": "the comparison was interrupted: rows are missing, and the last one may be incomplete.",
    "error": "an error ended the comparison: rows are missing.",
}


def comparison_page(result: BatchComparison, plots: Sequence[str]) -> str:
    """Markdown; `plots` are the files that were drawn."""
    return page(
        [
            f"# Batch sizes compared: {escape(result.task)}",
            partial_note(_PARTIAL.get(result.stopped_by)),
            *summary_blocks(comparison_summary(result), without=IN_SETTINGS),
            plot_block(plots, COMPARISON_PLOT, _caption(result)),
            _reading_text(result),
            settings_block(result.meta, _settings(result)),
            "## Each variant",
            *[block for variant in result.variants for block in _variant_blocks(variant)],
            *_prediction_info_blocks(result),
            environment_block(result.meta),
        ]
    )


def _caption(result: BatchComparison) -> str:
    if is_predicted(result):
        return "Largest batch that should fit against the memory of the GPU, one line per variant."
    return f"Largest and recommended batch size, and {sample_noun(result)} per second, of each variant."


def _reading_text(result: BatchComparison) -> str | None:
    if not result.variants:
        return None
    if is_predicted(result):
        return NOT_MEASURED
    megapixels, change = "", "a larger batch"
    if sample_noun(result) == "images":
        megapixels = ", and megapixels per second compare images of different size"
        change = "a smaller image or a larger batch"
    return (
        f"Throughput is measured at the recommended size, the smallest within 5 % of the best{megapixels}; peak memory at the "
        f"largest size. Neither tells which variant trains the better model: whether {change} helps is decided by a search."
    )


def _settings(result: BatchComparison) -> list[tuple[str, str]]:
    rows = [("task", escape(result.task)), ("optimizer", escape(result.optimizer))]
    limits = {variant.result.limit_bytes for variant in result.variants if variant.result.limit_bytes is not None}
    return [*rows, ("memory limit", ", ".join(map(format_bytes, sorted(limits))))] if limits else rows


def _variant_blocks(variant: Variant) -> list[str | None]:
    """The answer for one variant, and the measurements as a block to unfold."""
    result = variant.result
    heading, summary = f"### {escape(variant.title)}", batch_summary(result)
    if result.stopped_by == "predicted":
        return [heading, folded("memory of each GPU", [text_table(gpu_table(result.predictions))])]
    check, count = check_text(result), plural(len(result.attempts), "attempt")
    top = [answer_block(summary)]
    if result.stopped_by == "nothing_fits":
        top = summary_blocks(summary, without=(*IN_SETTINGS, "Evidence", "Headroom", "Warning", "Cost"))
    return [
        heading,
        *top,
        None if check is None else escape(sentence(check)),
        folded(f"{count} in {format_seconds(result.seconds)}", [attempts_table(result.attempts)]),
    ]


def _prediction_info_blocks(result: BatchComparison) -> list[str]:
    """How the first variant was predicted; the others were predicted in the same way."""
    prediction_infos = [
        variant.result.prediction_info for variant in result.variants if variant.result.prediction_info is not None
    ]
    return ["## How it was predicted", prediction_info_block(prediction_infos[0])] if prediction_infos else []
