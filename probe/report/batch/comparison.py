"""Batch sizes compared over image sizes, precisions and activation checkpointing: the summary and the page."""

from __future__ import annotations

from collections.abc import Sequence

from probe.batch.records import BatchComparison, Variant
from probe.errors import first_line
from probe.report.batch.figures import peak_at, taken_bytes
from probe.report.batch.page import attempts_table, prediction_info_block
from probe.report.batch.sentences import NOT_MEASURED, batch_warnings, check_text
from probe.report.batch.speed import (
    attempt_at_recommended,
    fastest_text,
    launches_text,
    loader_text,
    loader_warning,
    next_step,
    rate_at_recommended,
)
from probe.report.batch.summary import MEASURE_NEXT, batch_summary, gpu_table
from probe.report.shared.markdown import (
    IN_SETTINGS,
    answer_block,
    escape,
    folded,
    plot_block,
    result_page,
    settings_block,
    summary_blocks,
    text_table,
)
from probe.report.shared.summary import Line, Summary, Table, labelled
from probe.report.shared.wording import NONE, cell, plural, sentence, shorten
from probe.units import format_bytes, format_count, format_gpu_memory, format_seconds

COMPARISON_PLOT = "comparison.png"
SPEED_PLOT = "speed.png"

_SPEED_CAPTION = (
    "Throughput of each variant against batch size. At hollow marks the GPU waits for the host. Horizontal lines are what the "
    "data loader delivers."
)
_LAUNCHES = (
    "Host time is what the host needs to queue a training step, GPU time what the step takes, both at the recommended size. A "
    "size is launch-bound if the GPU waits for the host: a larger batch then takes hardly more time."
)

_PARTIAL = {
    "interrupted": "the comparison was interrupted: rows are missing, and the last one may be incomplete.",
    "error": "an error ended the comparison: rows are missing.",
}


def comparison_page(result: BatchComparison, plots: Sequence[str]) -> str:
    """Markdown; `plots` are the files that were drawn."""
    caption = f"Largest and recommended batch size, and {sample_noun(result)} per second, of each variant."
    if is_predicted(result):
        caption = "Largest batch that should fit against the memory of the GPU, one line per variant."
    settings = [("task", escape(result.task)), ("optimizer", escape(result.optimizer))]
    limits = {variant.result.limit_bytes for variant in result.variants if variant.result.limit_bytes is not None}
    settings += [("memory limit", ", ".join(map(format_bytes, sorted(limits))))] if limits else []
    infos = [info for variant in result.variants if (info := variant.result.prediction_info) is not None]
    blocks = [
        *summary_blocks(comparison_summary(result), without=IN_SETTINGS),
        plot_block(plots, COMPARISON_PLOT, caption),
        plot_block(plots, SPEED_PLOT, _SPEED_CAPTION),
        _reading_text(result),
        settings_block(result.meta, settings),
        "## Each variant",
        *[block for variant in result.variants for block in _variant_blocks(variant)],
        *(["## How it was predicted", prediction_info_block(infos[0])] if infos else []),
    ]
    title = f"Batch sizes compared: {escape(result.task)}"
    return result_page(title, result.meta, blocks, partial=_PARTIAL.get(result.stopped_by))


def _reading_text(result: BatchComparison) -> str | None:
    if not result.variants:
        return None
    if is_predicted(result):
        return NOT_MEASURED
    megapixels, change = "", "a larger batch"
    if sample_noun(result) == "images":
        megapixels = ", and megapixels per second compare images of different size"
        change = "a smaller image or a larger batch"
    text = (
        f"Throughput is measured at the recommended size, the smallest within 5 % of the best{megapixels}; peak memory at the "
        f"largest size. Neither tells which variant trains the better model: whether {change} helps is decided by a search."
    )
    return text if launches_text(result, short_names(result)) is None else f"{text}\n\n{_LAUNCHES}"


def _variant_blocks(variant: Variant) -> list[str | None]:
    """The answer for one variant, and the measurements as a block to unfold."""
    result, failure = variant.result, _failure_text(variant)
    heading, summary = f"### {escape(variant.title)}", batch_summary(result)
    if result.stopped_by == "predicted":
        return [heading, folded("memory of each GPU", [text_table(gpu_table(result.predictions))])]
    check, count = check_text(result), plural(len(result.attempts), "attempt")
    top = [answer_block(summary) if failure is None else escape(sentence(failure))]
    if result.stopped_by == "nothing_fits":
        top = summary_blocks(summary, without=(*IN_SETTINGS, "Evidence", "Headroom", "Warning", "Cost"))
    return [
        heading,
        *top,
        None if check is None else escape(sentence(check)),
        folded(f"{count} in {format_seconds(result.seconds)}", [attempts_table(result.attempts)]),
    ]


_MAX_FAILURE = 300
_FIRST_LEFT_OUT = ("recommended", "megapixels/s", "host time", "GPU time")
"""Columns that a narrow terminal leaves out, in this order."""
Column = tuple[str, list[str]]
"""A heading and its cells, one for each variant."""


def comparison_summary(result: BatchComparison) -> Summary:
    """The range of the largest batches, and a row for each variant."""
    lines: list[Line] = []
    if result.variants:
        common, is_capped = common_text(result), any(map(_is_capped, result.variants))
        lines += labelled("", [f"all variants: {common}" if common else None, comparison_table(result)])
        lines += labelled("", ["+: larger sizes were not tried" if is_capped else None])
        lines += labelled("", [launches_text(result, short_names(result))])
        lines += labelled("", [_failure_text(variant) for variant in result.variants])
    lines += labelled("Loader", [loader_text(result)])
    lines += [("Task", f"{result.task}, {result.optimizer}"), ("Device", result.meta.device)]
    warnings = dict.fromkeys(text for variant in result.variants for text in batch_warnings(variant.result))
    lines += labelled("Warning", [*warnings, loader_warning(result)])
    lines += labelled("Next", [MEASURE_NEXT if is_predicted(result) else next_step(result)])
    lines.append(("Cost", f"{plural(len(result.variants), 'variant')}, {format_seconds(result.seconds)}"))
    return Summary(answer=_answer(result), lines=tuple(lines))


def _answer(result: BatchComparison) -> str:
    if not result.variants:
        return "nothing was compared, so there is no answer"
    if is_predicted(result):
        return f"the largest batch that should fit, for {plural(len(result.variants), 'variant')} (predicted, not measured)"
    speed = fastest_text(result)
    return _sizes_text(result) + ("" if speed is None else f"; {speed}")


def _sizes_text(result: BatchComparison) -> str:
    named = [
        (variant.result.largest_fit, name)
        for variant, name in zip(result.variants, short_names(result), strict=True)
        if variant.result.largest_fit is not None or variant.failure is None
    ]
    fitting = [(largest, name) for largest, name in named if largest is not None]
    if not fitting:
        return "no batch size is known to fit in any variant"
    (low, low_name), (high, high_name) = (pick(fitting, key=lambda item: item[0]) for pick in (min, max))
    if low == high and len(fitting) == len(result.variants):
        return f"the largest batch that fits is {format_count(low)} in all variants"
    answer = f"the largest batch that fits is between {format_count(low)} ({low_name}) and {format_count(high)} ({high_name})"
    if low == high:
        answer = f"the largest batch that fits is {format_count(low)}"
    without = [name for largest, name in named if largest is None]
    return f"{answer}; nothing fits for {', '.join(without)}" if without else answer


def _failure_text(variant: Variant) -> str | None:
    """The error of a variant that cannot be trained."""
    if variant.failure is None:
        return None
    how = "no result for" if variant.result.largest_fit is None else "an error ended"
    return f"{how} {variant.title}: {shorten(first_line(variant.failure), _MAX_FAILURE)}"


def short_names(result: BatchComparison) -> list[str]:
    """Names of the variants by what differs between them; the full name if there is only one variant."""
    variants = result.variants
    checkpointing = ["with checkpointing" if v.activation_checkpointing else "without" for v in variants]
    sizes = [f"{v.image_size} x {v.image_size}" for v in variants]
    columns: list[list[str]] = [sizes, [v.mode for v in variants], checkpointing]
    differing = [column for column in columns if len(set(column)) > 1]
    if not differing:
        return [variant.title for variant in variants]
    return list(map(", ".join, zip(*differing, strict=True)))


def is_predicted(result: BatchComparison) -> bool:
    """Whether no variant was measured."""
    return bool(result.variants) and all(variant.result.stopped_by == "predicted" for variant in result.variants)


def _megapixel_rate(variant: Variant) -> float | None:
    """Millions of pixels per second at the recommended size, which compares images of different size."""
    rate = rate_at_recommended(variant)
    return None if rate is None or variant.image_size is None else rate * variant.image_size**2 / 1e6


def sample_noun(result: BatchComparison) -> str:
    """What a sample is called."""
    return "images" if any(variant.image_size is not None for variant in result.variants) else "samples"


def comparison_table(result: BatchComparison) -> Table:
    """A row for each variant: sizes and throughput if it was measured, a column for each GPU if it was predicted."""
    settings = [(name, values) for name, values in _settings(result) if len(set(values)) > 1]
    numbers = _gpu_columns(result) if is_predicted(result) else _measured_columns(result)
    columns = [*settings, *numbers]
    header = tuple(name for name, _ in columns)
    # A narrow terminal leaves out GPUs in the middle, the larger ones first.
    gpus = tuple(range(len(header) - 3, len(settings), -1))
    others = tuple(header.index(name) for name in _FIRST_LEFT_OUT if name in header)
    return Table(
        header=header,
        rows=tuple(zip(*(values for _, values in columns), strict=True)),
        num_left=len(settings),
        optional=gpus if is_predicted(result) else others,
    )


def common_text(result: BatchComparison) -> str:
    """The settings that all variants share."""
    texts = []
    for name, values in _settings(result):
        if len(set(values)) > 1 or values[0] == NONE:
            continue
        is_flag = name == "activation checkpointing"
        texts.append(f"{'with' if values[0] == 'yes' else 'without'} {name}" if is_flag else f"{name} {values[0]}")
    return ", ".join(texts)


def _settings(result: BatchComparison) -> list[Column]:
    return [
        ("image size", [NONE if v.image_size is None else f"{v.image_size} x {v.image_size}" for v in result.variants]),
        (_mode_heading(result), [v.mode for v in result.variants]),
        ("activation checkpointing", ["yes" if v.activation_checkpointing else "no" for v in result.variants]),
    ]


def _mode_heading(result: BatchComparison) -> str:
    return "training" if any(v.channels_last or v.compile for v in result.variants) else "precision"


def _gpu_columns(result: BatchComparison) -> list[Column]:
    sizes = sorted({p.memory_bytes for variant in result.variants for p in variant.result.predictions})
    columns = []
    for size in sizes:
        fits = [{p.memory_bytes: p.largest_fit for p in variant.result.predictions} for variant in result.variants]
        columns.append((format_gpu_memory(size), [_count(largest.get(size)) for largest in fits]))
    return columns


def _measured_columns(result: BatchComparison) -> list[Column]:
    noun = sample_noun(result)
    columns = [
        ("largest", [_count(v.result.largest_fit) + "+" * _is_capped(v) for v in result.variants]),
        ("recommended", [_count(v.result.recommended) for v in result.variants]),
        (f"{noun}/s", [_count(rate_at_recommended(v)) for v in result.variants]),
    ]
    if noun == "images":
        columns.append(("megapixels/s", [_count(_megapixel_rate(v)) for v in result.variants]))
    columns.append(("peak memory", [_peak(v) for v in result.variants]))
    timed = [attempt_at_recommended(variant) for variant in result.variants]
    if any(attempt is not None and attempt.host_seconds is not None for attempt in timed):
        columns += [
            ("host time", [NONE if a is None else cell(a.host_seconds, format_seconds, none=NONE) for a in timed]),
            ("GPU time", [NONE if a is None else cell(a.step_seconds, format_seconds, none=NONE) for a in timed]),
        ]
    return columns


def _is_capped(variant: Variant) -> bool:
    return variant.result.largest_fit is not None and variant.result.capped_by in ("max", "data")


def _count(value: float | None) -> str:
    return cell(value, format_count, none=NONE)


def _peak(variant: Variant) -> str:
    """Device memory used at the largest size that fits."""
    peak = peak_at(variant.result, variant.result.largest_fit)
    return NONE if peak is None else format_bytes(taken_bytes(variant.result, peak))
