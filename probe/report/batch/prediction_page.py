"""What a report says of predicted memory: the table of cards, where it comes from, the alternatives where nothing fits."""

from __future__ import annotations

from collections.abc import Sequence

from probe.batch.prediction_records import MemoryBreakdown, Prediction, PredictionInfo
from probe.batch.records import Alternative, BatchResult
from probe.report.batch.summary import check_prediction
from probe.report.batch.text import (
    NO_MEASUREMENT,
    data_bound_text,
    needs_text,
    predicted_answer,
    signed_share,
    traces_text,
)
from probe.report.shared.markdown import bullets, escape, table
from probe.units import format_bytes, format_count, format_gpu_memory, format_seconds

_TRACES = {
    "fake cpu": "The training step was traced on fake tensors of the CPU (`fake cpu`), which have shapes but no data",
}
_PARTS: tuple[tuple[str, str], ...] = (
    ("weights", "weights_bytes"),
    ("gradients", "gradients_bytes"),
    ("optimizer", "optimizer_state_bytes"),
    ("activations", "activations_bytes"),
    ("data", "data_bytes"),
    ("workspace", "workspace_bytes"),
    ("cache", "cache_bytes"),
    ("context", "context_bytes"),
)


def predicted_answer_block(result: BatchResult) -> str:
    """The answer where nothing was run, and what it is worth."""
    answer = predicted_answer(result)
    told = [needs_text(result), data_bound_text(result)]
    return "\n\n".join([f"**{answer[0].upper()}{answer[1:]}.**", *(text for text in told if text), NO_MEASUREMENT])


def predictions_table(predictions: Sequence[Prediction]) -> str:
    """For each card the largest size that should fit, what it takes and what fills it."""
    parts = [(name, field) for name, field in _PARTS if any(getattr(p.breakdown, field) for p in predictions)]
    header = ["card", "largest batch", "takes", *(name for name, _ in parts)]
    rows = [
        [
            format_gpu_memory(prediction.memory_bytes),
            "-" if prediction.largest_fit is None else format_count(prediction.largest_fit),
            format_bytes(prediction.peak_bytes),
            *(_part(prediction.breakdown, field) for _, field in parts),
        ]
        for prediction in predictions
    ]
    return table(header, rows, right=range(len(header)))


def _part(breakdown: MemoryBreakdown, field: str) -> str:
    num_bytes = getattr(breakdown, field)
    return format_bytes(num_bytes) if num_bytes else "0"


def prediction_info_block(prediction_info: PredictionInfo) -> str:
    """How the prediction was made and what it does not see, or why there is none."""
    if prediction_info.traced_as is None:
        return f"There is no prediction: {escape((prediction_info.failure or 'no reason is known').rstrip('.'))}."
    how = (
        f"{_TRACES[prediction_info.traced_as]}, in {format_seconds(prediction_info.seconds)}; every allocation was fitted to "
        "the batch size and, for a GPU, replayed through a model of its caching allocator. What is taken is all of it: what "
        "tensors hold at their peak, what the allocator keeps beyond that, and the CUDA context where there is one."
    )
    checked = traces_text(prediction_info)
    if checked is not None:
        how += f" {checked[0].upper()}{checked[1:]}."
    if not prediction_info.unseen:
        return how
    return f"{how}\n\nWhat it does not see:\n\n{bullets([escape(text) for text in prediction_info.unseen])}"


def check_table(result: BatchResult) -> str | None:
    """Predicted against measured at the largest size that fits."""
    check = check_prediction(result)
    if check is None:
        return None
    pairs = [
        ("tensors (allocated)", check.predicted_allocated_bytes, check.measured_allocated_bytes, check.allocated_error)
    ]
    if (check.predicted_bytes, check.measured_bytes) != (pairs[0][1], pairs[0][2]):
        pairs.append(("taken of the device", check.predicted_bytes, check.measured_bytes, check.error))
    rows = [
        [what, format_bytes(predicted), format_bytes(measured), signed_share(error)]
        for what, predicted, measured, error in pairs
    ]
    return table(
        [f"peak at batch {format_count(check.batch_size)}", "predicted", "measured", "error"], rows, right=(1, 2, 3)
    )


def prediction_block(result: BatchResult) -> list[str | None]:
    """The section about the prediction in the report of a measured answer."""
    if result.prediction_info is None:
        return []
    expected = result.predictions[0] if result.predictions else None
    told = None
    if expected is not None:
        size = "nothing" if expected.largest_fit is None else f"a batch of {format_count(expected.largest_fit)}"
        found = "nothing did" if result.largest_fit is None else f"{format_count(result.largest_fit)} was found"
        told = f"Predicted to fit: {size}, with a peak of {format_bytes(expected.peak_bytes)}; {found}."
        if expected.largest_fit is None:
            told = (
                f"Predicted to fit: nothing, as batch size 1 would take {format_bytes(expected.peak_bytes)} of "
                f"{format_gpu_memory(expected.memory_bytes)}; measured: {found}."
            )
    return ["## What was predicted", told, check_table(result), prediction_info_block(result.prediction_info)]


def alternatives_table(alternatives: Sequence[Alternative]) -> str:
    rows = [
        [escape(change.change), format_count(change.largest_fit), format_bytes(change.peak_bytes)]
        for change in alternatives
    ]
    return table(["change", "largest batch that should fit", "predicted peak"], rows, right=(1, 2))
