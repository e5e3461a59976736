"""The report of a batch probe, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from probe.batch.decide import timed_by_size
from probe.batch.records import Attempt, BatchResult
from probe.report.batch_facts import best_throughput, is_confirmed, peak_at, smallest_failure
from probe.report.common import asked_block, environment_block, partial_note
from probe.report.markdown import bullets, escape, image, page, shorten, table
from probe.units import format_bytes, format_count, format_seconds, format_share

THROUGHPUT_PLOT = "throughput.png"
MEMORY_PLOT = "memory.png"

_OUTCOMES = {
    "fits": "fits",
    "oom": "out of memory",
    "oom_in_eval": "out of memory in evaluation",
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
    "kernel_limit": "a GPU kernel cannot index a larger batch",
}
_PARTIAL = {
    "interrupted": "the sweep was interrupted. The answer holds for the attempts below, a larger size may fit as well.",
    "error": "the sweep was ended by an error, which the last attempt below names.",
}


def batch_page(result: BatchResult, plots: Sequence[str]) -> str:
    """Markdown; `plots` are the files that could be drawn."""
    return page(
        [
            f"# Batch size: {escape(result.task)}",
            partial_note(_PARTIAL.get(result.stopped_by)),
            answer(result),
            _meaning(result) if result.largest_fit is not None else _what_next(result),
            asked_block(result.meta, _asked(result)),
            "## How it was found",
            _sweep(result),
            *batch_plots(plots),
            attempts_table(result.attempts),
            "## What it cost",
            f"{format_count(len(result.attempts))} attempts in {format_seconds(result.seconds)}.",
            environment_block(result.meta),
        ]
    )


def answer(result: BatchResult) -> str:
    """The answer in one bold sentence, with how sure it is."""
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
    peak = peak_at(result, result.largest_fit)
    if peak is not None and result.limit_bytes:
        headroom = result.limit_bytes - peak
        items.append(
            f"Headroom left at {format_count(result.largest_fit or 0)}: {format_bytes(headroom)} "
            f"({format_share(headroom / result.limit_bytes, decimals=0)} of {format_bytes(result.limit_bytes)}), the limit "
            f"less the peak of reserved memory."
        )
    timed = timed_by_size(result.attempts)
    best = best_throughput(result.attempts)
    for name, size in (("recommended", result.recommended), ("largest", result.largest_fit)):
        if size in timed and not (name == "largest" and size == result.recommended):
            rate = timed[size].samples_per_second or 0.0
            items.append(
                f"Throughput at the {name} size {format_count(size)}: {format_count(rate)} samples/s "
                f"({format_share(rate / best, decimals=0)} of the best)."
            )
    caution = (
        "Throughput is not generalization: the largest batch is a ceiling, not a choice. A smaller batch makes more updates "
        "in an epoch and often reaches a better model; let the search decide below this ceiling."
    )
    return f"{bullets(items)}\n\n{caution}" if items else caution


def _what_next(result: BatchResult) -> str:
    optimizer = (
        "" if result.optimizer == "sgd" else f", `--optimizer sgd` (it keeps less state than {result.optimizer})"
    )
    precision = ", `--precision bf16`" if result.precision in ("fp32", "tf32") else ""
    limit = "" if result.limit_bytes is None else f" of {format_bytes(result.limit_bytes)}"
    return (
        f"What to try next, with the limit{limit}: a smaller input (`--img`), a smaller model{precision}{optimizer}. "
        "Accumulation splits a batch into micro-batches, which helps where batch 1 fits and a larger one is wanted."
    )


def _asked(result: BatchResult) -> list[tuple[str, str]]:
    samples = "synthetic" if result.num_samples is None else f"{format_count(result.num_samples)} training samples"
    limit = "not known" if result.limit_bytes is None else format_bytes(result.limit_bytes)
    return [
        ("task", escape(result.task)),
        ("data", samples),
        ("optimizer", escape(result.optimizer)),
        ("precision", result.precision),
        ("memory limit", limit),
    ]


def _sweep(result: BatchResult) -> str:
    """How the sweep went and what ended it."""
    how = (
        "Powers of two only: the sweep halves where a size does not fit and doubles where it does. Every attempt runs whole "
        "training steps (forward, loss, backward, optimizer) and an evaluation step in a process of its own."
    )
    failure = smallest_failure(result)
    if result.largest_fit is None:
        return how
    size = format_count(result.largest_fit)
    if result.capped_by is not None:
        return f"{how} It stopped at {size} because {_CAPS[result.capped_by]}, so more may fit."
    if failure is not None:
        above = f"{format_count(failure.batch_size)}: {_OUTCOMES[failure.outcome]}"
        return f"{how} It ended between {size}, which fits, and {above}."
    return f"{how} Nothing larger than {size} was tried."


def batch_plots(plots: Sequence[str], prefix: str = "") -> list[str]:
    captions = {
        THROUGHPUT_PLOT: "Training throughput in samples per second against batch size; the diamond marks the recommended one.",
        MEMORY_PLOT: "Peak memory against batch size; the line is the limit, crosses on it are sizes that ran out of memory.",
    }
    return [image(f"{prefix}{file}", text) for file, text in captions.items() if f"{prefix}{file}" in plots]


def attempts_table(attempts: Sequence[Attempt]) -> str:
    """Every attempt in the order in which it ran."""
    if not attempts:
        return "No attempt was finished."
    header = ["batch size", "purpose", "outcome", "step", "samples/s", "peak allocated", "peak reserved", "message"]
    rows = [
        [
            format_count(attempt.batch_size),
            _PURPOSES[attempt.purpose],
            _OUTCOMES[attempt.outcome],
            "" if attempt.step_seconds is None else format_seconds(attempt.step_seconds),
            "" if attempt.samples_per_second is None else format_count(attempt.samples_per_second),
            "" if attempt.memory is None else format_bytes(attempt.memory.peak_allocated_bytes),
            "" if attempt.memory is None else format_bytes(attempt.memory.peak_reserved_bytes),
            escape(shorten(attempt.message or "")),
        ]
        for attempt in attempts
    ]
    return table(header, rows, right=(0, 3, 4, 5, 6))
