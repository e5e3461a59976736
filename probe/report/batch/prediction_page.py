"""Sections of a batch report about predicted memory."""

from __future__ import annotations

from probe.batch.prediction_records import PredictionInfo
from probe.batch.records import BatchResult
from probe.report.batch.figures import check_prediction
from probe.report.batch.sentences import signed_percent, traces_text
from probe.report.shared.markdown import bullets, escape, table
from probe.report.shared.wording import sentence
from probe.units import format_bytes, format_count, format_gpu_memory, format_seconds

_TRACES = {
    "fake cpu": "The training step was traced on fake tensors of the CPU (`fake cpu`), which have shapes but no data",
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
