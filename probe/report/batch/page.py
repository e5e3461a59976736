"""The report of a batch probe, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from probe.batch.decide import GOOD_ENOUGH, timed_by_size
from probe.batch.records import Attempt, BatchResult
from probe.report.batch.prediction_page import (
    alternatives_table,
    predicted_answer_block,
    prediction_block,
    prediction_info_block,
    predictions_table,
)
from probe.report.batch.sample_text import confirmation_text, ranking_texts
from probe.report.batch.summary import (
    best_throughput,
    headroom_bytes,
    is_confirmed,
    nothing_should_fit,
    rate_text,
    smallest_failure,
    step_spread,
)
from probe.report.batch.text import gradient_accumulation_text, limit_text, result_warnings, too_small_text
from probe.report.shared.common import asked_block, environment_block, partial_note
from probe.report.shared.markdown import bullets, escape, image, page, shorten, table
from probe.units import format_bytes, format_count, format_gpu_memory, format_percent, format_seconds

THROUGHPUT_PLOT = "throughput.png"
MEMORY_PLOT = "memory.png"

_OUTCOMES = {
    "fits": "fits",
    "oom": "out of memory",
    "oom_in_eval": "out of memory in validation",
    "thrashes": "thrashes",
    "kernel_limit": "limit of a kernel",
    "host_oom": "out of host memory",
    "crashed": "crashed",
    "error": "error",
}
_PURPOSES = {"size": "does it fit", "throughput": "throughput", "confirm": "confirm"}
_CAPS = {
    "max": "`--max` allows no larger size",
    "data": "the next power of two is larger than the training set",
}
_PARTIAL = {
    "interrupted": "the sweep was interrupted. The answer holds for the attempts below, a larger size may fit as well.",
    "error": "the sweep was ended by an error, which the last attempt below names.",
}


def batch_page(result: BatchResult, plots: Sequence[str]) -> str:
    """Markdown; `plots` are the files that could be drawn."""
    if result.stopped_by == "predicted":
        return _predicted_page(result, plots)
    return page(
        [
            f"# Batch size: {escape(result.task)}",
            partial_note(_PARTIAL.get(result.stopped_by)),
            answer(result),
            _meaning(result) if result.largest_fit is not None else what_next(result),
            asked_block(result.meta, _asked(result)),
            *_device_block(result),
            "## How it was found",
            _sweep(result),
            *batch_plots(plots),
            attempts_table(result.attempts),
            *prediction_block(result),
            "## What it cost",
            f"{format_count(len(result.attempts))} attempts in {format_seconds(result.seconds)}.",
            environment_block(result.meta),
        ]
    )


def _predicted_page(result: BatchResult, plots: Sequence[str]) -> str:
    """Nothing was run: what should fit, and why."""
    return page(
        [
            f"# Batch size: {escape(result.task)}",
            predicted_answer_block(result),
            predictions_table(result.predictions) if result.predictions else None,
            what_next(result) if nothing_should_fit(result) or result.alternatives else None,
            asked_block(result.meta, _asked(result)),
            "## How it was predicted",
            *batch_plots(plots),
            prediction_info_block(result.prediction_info) if result.prediction_info is not None else None,
            "## What it cost",
            f"{format_seconds(result.seconds)}, without a GPU.",
            environment_block(result.meta),
        ]
    )


def answer(result: BatchResult) -> str:
    """The answer in one bold sentence, with how sure it is."""
    if result.stopped_by == "predicted":
        return predicted_answer_block(result)
    if result.largest_fit is None:
        tried = sorted({attempt.batch_size for attempt in result.attempts})
        if not tried:
            return "**Nothing was measured, so there is no answer.**"
        if tried[0] == 1 and result.stopped_by == "nothing_fits":
            return "**No batch size fits, not even 1.**"
        return f"**No batch size is known to fit; the smallest one tried is {format_count(tried[0])}.**"
    confirmed = "confirmed by a longer run" if is_confirmed(result) else "not confirmed by a longer run"
    largest = f"The largest batch that fits is {format_count(result.largest_fit)} ({confirmed})"
    if result.recommended is None:
        return f"**{largest}.**"
    if result.recommended == result.largest_fit:
        return (
            f"**{largest}, and it is the recommended one: no smaller size measured is within 5 % of its throughput.**"
        )
    fastest = f"the smallest size within 5 % of the best throughput is {format_count(result.recommended)}"
    return f"**{largest}; {fastest}, which is recommended.**"


def _meaning(result: BatchResult) -> str:
    """Headroom and throughput as bullets, then what throughput does not say."""
    items = []
    timed = timed_by_size(result.attempts)
    best = best_throughput(result.attempts)
    for name, size in (("recommended", result.recommended), ("largest", result.largest_fit)):
        if size in timed and not (name == "largest" and size == result.recommended):
            rate = timed[size].samples_per_second or 0.0
            items.append(
                f"Throughput at the {name} size {format_count(size)}: {rate_text(timed[size])} "
                f"({format_percent(rate / best, decimals=0)} of the best)."
            )
    if any("±" in item for item in items):
        items[-1] += (
            f" The spread is half the interquartile range of the step times{_doubt(timed, result.recommended)}."
        )
    headroom = headroom_bytes(result)
    if headroom is not None and result.limit_bytes:
        context = "" if result.device_memory is None else " and of the CUDA context"
        items.append(
            f"Headroom left at {format_count(result.largest_fit or 0)}: {format_bytes(headroom)} "
            f"({format_percent(headroom / result.limit_bytes, decimals=0)} of {format_bytes(result.limit_bytes)}), the limit "
            f"less the peak of reserved memory{context}."
        )
    caution = (
        "Throughput is not generalization: the largest batch is a ceiling, not a choice. A smaller batch makes more updates "
        "in an epoch and often reaches a better model (Masters & Luschi 2018, arXiv:1804.07612, found the best ones at 32 and "
        "below); let the search decide below this ceiling."
    )
    return f"{bullets(items)}\n\n{caution}" if items else caution


def _doubt(timed: Mapping[int, Attempt], recommended: int | None) -> str:
    """What to think of the rule where the measurement is coarser than it."""
    spread = step_spread(timed[recommended]) if recommended is not None and recommended in timed else None
    if spread is None or spread <= 1 - GOOD_ENOUGH:
        return ""
    return ": more than the 5 % of the rule, so that a neighboring size may do as well"


def what_next(result: BatchResult) -> str:
    """The plan where nothing fits: what would, as predicted, or what to try."""
    if result.alternatives:
        return (
            "What should fit instead, as predicted for the same memory:\n\n"
            f"{alternatives_table(result.alternatives)}\n\n{gradient_accumulation_text(result.alternatives)}"
        )
    optimizer = (
        ""
        if result.optimizer == "sgd"
        else f", `--optimizer sgd` (it keeps less state than {escape(result.optimizer)})"
    )
    precision = ", `--precision bf16`" if result.precision in ("fp32", "tf32") else ""
    limit = "" if result.limit_bytes is None else f" of {format_bytes(result.limit_bytes)}"
    return (
        f"What to try next, with the limit{limit}: a smaller input (`--img`), a smaller model, `--activation_checkpointing`"
        f"{precision}{optimizer}. Accumulation splits a batch into micro-batches, which helps where batch 1 fits and a larger "
        "one is wanted."
    )


def _device_block(result: BatchResult) -> list[str]:
    """What else there is to know of the device's memory, as bullets."""
    memory = result.device_memory
    items = [escape(text) for text in result_warnings(result)]
    if memory is not None:
        how = "measured" if memory.context_is_measured else "assumed, as nothing could measure it"
        items.insert(0, f"CUDA context of this process: {format_bytes(memory.context_bytes)} ({how}).")
        items.insert(0, f"Memory of the device: {format_bytes(memory.total_bytes)}.")
        if memory.others_bytes and not memory.others:
            items.insert(
                1, f"Taken before this run began: {format_bytes(memory.others_bytes)}, subtracted from the limit."
            )
    return ["## The device", bullets(items)] if items else []


def _asked(result: BatchResult) -> list[tuple[str, str]]:
    samples = "synthetic" if result.num_samples is None else f"{format_count(result.num_samples)} training samples"
    rows = [
        ("task", escape(result.task)),
        ("data", samples),
        ("optimizer", escape(result.optimizer)),
        ("precision", result.precision),
    ]
    if result.stopped_by == "predicted":
        cards = ", ".join(format_gpu_memory(prediction.memory_bytes) for prediction in result.predictions)
        return [*rows, ("cards", cards or "none")]
    limit = "not known" if result.limit_bytes is None else format_bytes(result.limit_bytes)
    return [*rows, ("memory limit", limit)]


def _sweep(result: BatchResult) -> str:
    """How the sweep went and what ended it."""
    how = (
        "Powers of two only: the sweep halves where a size does not fit and doubles where it does. Every attempt runs whole "
        "training steps (forward, loss, backward, optimizer) on the largest samples, validation of the largest validation "
        "samples and the data set's last, partial batch, in a process of its own."
    )
    notes = [
        escape(f"{text[0].upper()}{text[1:]}.") for text in (*ranking_texts(result), confirmation_text(result)) if text
    ]
    how = " ".join([how, *notes])
    failure = smallest_failure(result)
    if result.largest_fit is None:
        return how
    size = format_count(result.largest_fit)
    refused = too_small_text(result)
    if refused is not None:
        how += f" {escape(refused)}{'' if refused.endswith('.') else '.'}"
    if result.capped_by in ("max", "data"):
        return f"{how} It stopped at {size} because {_CAPS[result.capped_by]}, so more may fit."
    if failure is not None:
        above = f"{format_count(failure.batch_size)}: {_OUTCOMES[failure.outcome]}"
        limit = limit_text(result)
        return f"{how} It ended between {size}, which fits, and {above}.{'' if limit is None else f' {escape(limit)}'}"
    return f"{how} Nothing larger than {size} was tried."


def batch_plots(plots: Sequence[str], prefix: str = "") -> list[str]:
    captions = {
        THROUGHPUT_PLOT: "Training throughput in samples per second against batch size; the diamond marks the recommended one.",
        MEMORY_PLOT: "Peak memory against batch size, measured or predicted, with the limit of the device or the sizes of "
        "cards; crosses are sizes that ran out of memory.",
    }
    return [image(f"{prefix}{file}", text) for file, text in captions.items() if f"{prefix}{file}" in plots]


def attempts_table(attempts: Sequence[Attempt]) -> str:
    """Every attempt in the order in which it ran."""
    if not attempts:
        return "No attempt was finished."
    columns: list[tuple[str, bool, Callable[[Attempt], str]]] = [
        ("batch size", True, lambda a: format_count(a.batch_size)),
        ("purpose", False, lambda a: _PURPOSES[a.purpose]),
        ("outcome", False, lambda a: _OUTCOMES[a.outcome]),
        ("step", True, lambda a: "" if a.step_seconds is None else format_seconds(a.step_seconds)),
        ("samples/s", True, _rate),
        ("peak allocated", True, lambda a: "" if a.memory is None else format_bytes(a.memory.peak_allocated_bytes)),
        ("peak reserved", True, lambda a: "" if a.memory is None else format_bytes(a.memory.peak_reserved_bytes)),
    ]
    if any(attempt.host_peak_bytes is not None for attempt in attempts):
        columns.append(
            ("host peak", True, lambda a: "" if a.host_peak_bytes is None else format_bytes(a.host_peak_bytes))
        )
    columns.append(("message", False, lambda a: escape(shorten(a.message or ""))))
    rows = [[text(attempt) for _, _, text in columns] for attempt in attempts]
    right = [index for index, (_, is_number, _) in enumerate(columns) if is_number]
    return table([name for name, _, _ in columns], rows, right=right)


def _rate(attempt: Attempt) -> str:
    if attempt.samples_per_second is None:
        return ""
    spread = step_spread(attempt)
    rate = format_count(attempt.samples_per_second)
    return rate if spread is None else f"{rate} ± {format_percent(spread, decimals=1)}"
