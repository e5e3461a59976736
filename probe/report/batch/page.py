"""The report of a batch probe, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from probe.batch.decide import GOOD_ENOUGH, timed_by_size
from probe.batch.prediction_records import PredictionInfo
from probe.batch.records import Attempt, BatchResult
from probe.report.batch.figures import best_throughput, check_prediction, smallest_failure, step_spread
from probe.report.batch.sentences import (
    CAPS,
    NOT_MEASURED,
    OUTCOMES,
    limit_text,
    rate_with_spread,
    signed_percent,
    traces_text,
)
from probe.report.batch.summary import batch_summary
from probe.report.shared.markdown import (
    IN_SETTINGS,
    bullets,
    escape,
    plot_block,
    result_page,
    settings_block,
    summary_blocks,
    table,
)
from probe.report.shared.wording import cell, sentence, shorten
from probe.units import format_bytes, format_count, format_gpu_memory, format_percent, format_seconds

THROUGHPUT_PLOT = "throughput.png"
MEMORY_PLOT = "memory.png"

_PURPOSES = {"size": "does it fit", "throughput": "throughput", "confirm": "confirm"}
_PARTIAL = {
    "interrupted": "the sweep was interrupted. The answer is based on the attempts below; a larger size may fit as well.",
    "error": "an error ended the sweep; the last attempt below shows it.",
}
_CAPTIONS = {
    THROUGHPUT_PLOT: "Training throughput in samples per second against batch size; the diamond marks the recommended size.",
    MEMORY_PLOT: "Peak memory against batch size, measured or predicted, with the limit of the device or the memory of GPUs; "
    "crosses are sizes that ran out of memory.",
}
_CEILING = (
    "Throughput is not generalization: the largest batch is an upper limit, not a recommendation for training. A smaller batch "
    "makes more updates per epoch and often gives a better model (Masters & Luschi 2018, arXiv:1804.07612, found the best ones "
    "at 32 and below). Let a search decide below this limit."
)


def batch_page(result: BatchResult, plots: Sequence[str]) -> str:
    """Markdown; `plots` are the files that were drawn."""
    settings = settings_block(result.meta, _settings(result))
    blocks: list[str | None] = [*summary_blocks(batch_summary(result), without=IN_SETTINGS)]
    if result.stopped_by == "predicted":
        how = prediction_info_block(result.prediction_info) if result.prediction_info is not None else None
        blocks += [NOT_MEASURED, settings, "## How it was predicted", *plot_blocks(plots), how]
    else:
        blocks += [_meaning(result) if result.largest_fit is not None else None, settings, *_device_blocks(result)]
        blocks += ["## How it was measured", _sweep_text(result), *plot_blocks(plots), attempts_table(result.attempts)]
        blocks += prediction_blocks(result)
    title = f"Batch size: {escape(result.task)}"
    return result_page(title, result.meta, blocks, partial=_PARTIAL.get(result.stopped_by))


def plot_blocks(plots: Sequence[str], prefix: str = "") -> list[str]:
    """The plots of a batch probe that were drawn, whose files start with `prefix`."""
    blocks = [plot_block(plots, f"{prefix}{file}", caption) for file, caption in _CAPTIONS.items()]
    return [block for block in blocks if block is not None]


def attempts_table(attempts: Sequence[Attempt]) -> str:
    """All attempts in the order in which they ran."""
    if not attempts:
        return "No attempt was completed."
    columns: list[tuple[str, bool, Callable[[Attempt], str]]] = [
        ("batch size", True, lambda a: format_count(a.batch_size)),
        ("purpose", False, lambda a: _PURPOSES[a.purpose]),
        ("outcome", False, lambda a: OUTCOMES[a.outcome]),
        ("step", True, lambda a: cell(a.step_seconds, format_seconds)),
        ("samples/s", True, rate_with_spread),
        ("peak allocated", True, lambda a: "" if a.memory is None else format_bytes(a.memory.peak_allocated_bytes)),
        ("peak reserved", True, lambda a: "" if a.memory is None else format_bytes(a.memory.peak_reserved_bytes)),
    ]
    if any(attempt.host_seconds is not None for attempt in attempts):
        columns.insert(4, ("host time", True, lambda a: cell(a.host_seconds, format_seconds)))
    if any(attempt.host_peak_bytes is not None for attempt in attempts):
        columns.append(
            ("host peak", True, lambda a: "" if a.host_peak_bytes is None else format_bytes(a.host_peak_bytes))
        )
    columns.append(("message", False, lambda a: escape(shorten(a.message or ""))))
    rows = [[text(attempt) for _, _, text in columns] for attempt in attempts]
    right = [index for index, (_, is_number, _) in enumerate(columns) if is_number]
    return table([name for name, _, _ in columns], rows, right=right)


def _meaning(result: BatchResult) -> str:
    """How the recommended size compares, how exact that is, and what throughput does not tell."""
    timed, best = timed_by_size(result.attempts), best_throughput(result.attempts)
    texts = []
    if result.recommended in timed and best:
        rate = timed[result.recommended].samples_per_second or 0.0
        size, fraction = format_count(result.recommended), format_percent(rate / best, decimals=0)
        texts += [f"Throughput at the recommended size {size} is {fraction} of the best."] if rate < best else []
        spread = step_spread(timed[result.recommended])
        if spread is not None:
            texts.append("The spread (±) is half the interquartile range of the step times.")
        if spread is not None and spread > 1 - GOOD_ENOUGH:
            texts.append("It exceeds the 5 % of the rule, so a neighboring size may be as good.")
    return " ".join([*texts, _CEILING])


def _device_blocks(result: BatchResult) -> list[str]:
    memory = result.device_memory
    if memory is None:
        return []
    how = "measured" if memory.context_is_measured else "assumed, because it could not be measured"
    items = [f"Memory of the device: {format_bytes(memory.total_bytes)}."]
    if memory.others_bytes and not memory.others:
        items.append(f"In use before this run: {format_bytes(memory.others_bytes)}, subtracted from the limit.")
    items.append(f"Context of this process: {format_bytes(memory.context_bytes)} ({how}); part of the memory used.")
    return ["## Device", bullets(items)]


def _settings(result: BatchResult) -> list[tuple[str, str]]:
    samples = "synthetic" if result.num_samples is None else f"{format_count(result.num_samples)} training samples"
    rows = [
        ("task", escape(result.task)),
        ("data", samples),
        ("optimizer", escape(result.optimizer)),
        ("precision", result.precision),
    ]
    if result.stopped_by == "predicted":
        gpus = ", ".join(format_gpu_memory(prediction.memory_bytes) for prediction in result.predictions)
        return [*rows, ("GPUs", gpus or "none")]
    limit = "not known" if result.limit_bytes is None else format_bytes(result.limit_bytes)
    return [*rows, ("memory limit", limit)]


def _sweep_text(result: BatchResult) -> str:
    """How the sweep works and what ended it."""
    how = (
        "The sweep tries powers of two: it halves a size that does not fit and doubles one that does. Every attempt runs "
        "complete training steps (forward, loss, backward, optimizer) on the largest samples, validates on the largest "
        "validation samples, and trains on the last, incomplete batch of the data set, in a process of its own."
    )
    if result.largest_fit is None:
        return how
    size, failure, limit = format_count(result.largest_fit), smallest_failure(result), limit_text(result)
    if result.capped_by in ("max", "data"):
        return f"{how} It ended at {size} because {CAPS[result.capped_by]}; a larger size may fit."
    if failure is None:
        return f"{how} No size above {size} was tried."
    end = f"It ended between {size}, which fits, and {format_count(failure.batch_size)}: {OUTCOMES[failure.outcome]}."
    return f"{how} {end}" + ("" if limit is None else f" {escape(limit)}")


_TRACES = {
    "fake cpu": "The training step was traced on fake tensors of the CPU (`fake cpu`), which have shapes but no data"
}


def prediction_info_block(prediction_info: PredictionInfo) -> str:
    """How the prediction was made and what it does not model, or why there is none."""
    if prediction_info.traced_as is None:
        return f"There is no prediction: {escape((prediction_info.failure or 'the reason is not known').rstrip('.'))}."
    how = (
        f"{_TRACES[prediction_info.traced_as]}, in {format_seconds(prediction_info.seconds)}. The size of every allocation "
        "was fitted as a function of the batch size and, for a GPU, replayed through a model of its caching allocator. The "
        "memory needed is the peak of all tensors, what the allocator keeps beyond that, and the CUDA context if there is one."
    )
    checked = traces_text(prediction_info)
    if checked is not None:
        how += f" {sentence(checked)}"
    if not prediction_info.unseen:
        return how
    return f"{how}\n\nWhat it does not model:\n\n{bullets([escape(text) for text in prediction_info.unseen])}"


def check_table(result: BatchResult) -> str | None:
    """Predicted against measured memory at the largest size that fits; None if it was not both predicted and measured."""
    check = check_prediction(result)
    if check is None:
        return None
    allocated = (check.predicted_allocated_bytes, check.measured_allocated_bytes)
    device = (check.predicted_bytes, check.measured_bytes)
    rows = [["allocated by tensors", *map(format_bytes, allocated), signed_percent(check.allocated_error)]]
    if device != allocated:
        rows.append(["used of the device", *map(format_bytes, device), signed_percent(check.error)])
    header = [f"peak at batch {format_count(check.batch_size)}", "predicted", "measured", "error"]
    return table(header, rows, right=(1, 2, 3))


def prediction_blocks(result: BatchResult) -> list[str | None]:
    """The section about the prediction in the report of a measured answer."""
    if result.prediction_info is None:
        return []
    return ["## Prediction", _expected_text(result), check_table(result), prediction_info_block(result.prediction_info)]


def _expected_text(result: BatchResult) -> str | None:
    """What was predicted to fit and what was measured."""
    if not result.predictions:
        return None
    expected = result.predictions[0]
    found = "nothing fits" if result.largest_fit is None else f"batch {format_count(result.largest_fit)} fits"
    peak = format_bytes(expected.peak_bytes)
    if expected.largest_fit is None:
        memory = format_gpu_memory(expected.memory_bytes)
        return f"Predicted: nothing fits, as batch size 1 needs {peak} of {memory}. Measured: {found}."
    return f"Predicted: batch {format_count(expected.largest_fit)} fits, with a peak of {peak}. Measured: {found}."
