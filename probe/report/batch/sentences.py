"""Sentences about a batch probe. Plain text."""

from __future__ import annotations

from collections.abc import Sequence

from probe.batch.decide import too_small
from probe.batch.errors_by_size import is_suspect
from probe.batch.prediction_records import Contradiction, Prediction, PredictionInfo
from probe.batch.records import Alternative, Attempt, BatchResult
from probe.records import DeviceMemory
from probe.report.batch.figures import check_prediction, collapsed_sizes, smallest_failure, step_spread
from probe.report.batch.sample_text import sample_warnings
from probe.report.shared.wording import sentence, shorten
from probe.units import format_bytes, format_count, format_gpu_memory, format_percent

OUTCOMES = {
    "fits": "fits",
    "oom": "out of memory",
    "oom_in_eval": "out of memory in validation",
    "thrashes": "fits only by emptying the allocator's cache again and again",
    "spills": "needs more memory than the device has; its driver moves the rest to the host",
    "kernel_limit": "limit of a GPU kernel, not of memory",
    "host_oom": "out of host memory",
    "timed_out": "took too long",
    "crashed": "process crashed",
    "error": "error",
}
"""What happened in an attempt."""
CAPS = {
    "max": "--max allows no larger size",
    "data": "the next power of two is larger than the training set",
    "kernel_limit": "the next size exceeds a limit of a GPU kernel, not of memory",
    "timeout": "the next size took too long",
    "error": "the next size ends in an error that smaller sizes do not have",
}
"""Why no larger size was tried."""
NOT_MEASURED = (
    "A prediction is not a measurement: run the same command on the GPU before you rely on a size, especially on one that "
    "leaves little memory free."
)
_NOTABLE_FRACTION = 0.05
"""Fraction of the device's memory below which unexplained use is taken to be the driver's own."""
_MAX_NAMED = 5


def attempt_text(attempt: Attempt) -> str:
    """One attempt: `batch 256: fits, 1,234 samples/s ± 0.8 %, peak 912 MiB`. Errors are quoted."""
    purpose = "" if attempt.purpose == "size" else f" ({attempt.purpose})"
    head = f"batch {format_count(attempt.batch_size)}{purpose}: {OUTCOMES[attempt.outcome]}"
    if attempt.fits:
        peak = f", peak {format_bytes(attempt.memory.peak_reserved_bytes)}" if attempt.memory else ""
        return f"{head}, {rate_text(attempt)} samples/s{_spread_text(attempt)}{peak}"
    return f"{head}: {quote(attempt)}" if is_suspect(attempt) and attempt.message else head


def rate_text(attempt: Attempt) -> str:
    """Samples per second: `1,234`; empty if it was not measured."""
    return "" if attempt.samples_per_second is None else format_count(attempt.samples_per_second)


def _spread_text(attempt: Attempt) -> str:
    spread = step_spread(attempt)
    return "" if spread is None else f" ± {format_percent(spread, decimals=1)}"


def rate_with_spread(attempt: Attempt) -> str:
    """`1,234 ± 0.8 %`; the spread is half the interquartile range of the step times."""
    return f"{rate_text(attempt)}{_spread_text(attempt)}"


def quote(attempt: Attempt) -> str:
    """The first line of the message of a failed attempt."""
    return shorten(next(iter((attempt.message or "").strip().splitlines()), "no message"))


def prediction_text(prediction_info: PredictionInfo) -> str | None:
    """A prediction in one line: the memory of the last two sizes of its curve, the second of which is too large."""
    if prediction_info.failure is not None:
        return f"no prediction: {prediction_info.failure}"
    if not prediction_info.curve:
        return None
    last = [(format_count(point.batch_size), format_bytes(point.peak_bytes)) for point in prediction_info.curve[-2:]]
    return "predicted: " + ", ".join(f"batch {size} needs {peak}" for size, peak in last)


def predicted_answer(result: BatchResult) -> str:
    """The answer on a machine without a GPU, in one sentence."""
    if not result.predictions:
        return "nothing was measured and nothing is predicted"
    fitting = [prediction for prediction in result.predictions if prediction.largest_fit is not None]
    last = result.predictions[-1]
    if not fitting:
        needed = f"which needs {format_bytes(last.peak_bytes)}"
        memory = format_gpu_memory(last.memory_bytes)
        return f"nothing should fit in {memory}, not even batch size 1, {needed} (predicted, not measured)"
    if len(result.predictions) == 1:
        memory = format_gpu_memory(last.memory_bytes)
        return f"the largest batch that should fit in {memory} is {_size(last)} (predicted, not measured)"
    first, *_, final = [fitting[0], *fitting]
    sizes = f"batch {_size(first)} should fit on a GPU with {format_gpu_memory(first.memory_bytes)}"
    if final.largest_fit == first.largest_fit:
        sizes += "" if final is first else " or more"
    else:
        sizes += f", batch {_size(final)} on one with {format_gpu_memory(final.memory_bytes)}"
    return f"{sizes} (predicted, not measured, as there is no GPU here)"


def _size(prediction: Prediction) -> str:
    return format_count(prediction.largest_fit or 0)


def needs_text(result: BatchResult) -> str | None:
    """The memory that batch size 1 needs, if it is too much for some GPU."""
    short = [prediction for prediction in result.predictions if prediction.largest_fit is None]
    if not short:
        return None
    sizes = [format_bytes(size) for size in sorted({prediction.peak_bytes for prediction in short})]
    needed = sizes[0] if len(set(sizes)) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return f"A row without a batch size is a GPU on which not even batch size 1 fits: it needs {needed}."


def data_bound_text(result: BatchResult) -> str | None:
    """A note that the number of training samples limits the predictions, not memory; None otherwise."""
    largest = max((prediction.largest_fit or 0 for prediction in result.predictions), default=0)
    if result.num_samples is None or 2 * largest <= result.num_samples:
        return None
    return f"The training set has {format_count(result.num_samples)} samples: no larger batch was considered."


def check_text(result: BatchResult) -> str | None:
    """Prediction and measurement: `predicted: batch 128 with 412 MiB; measured: 420 MiB (error -1.9 %)`."""
    check = check_prediction(result)
    if check is None:
        return None
    size, predicted = format_count(check.batch_size), format_bytes(check.predicted_bytes)
    measured = f"measured: {format_bytes(check.measured_bytes)} (error {signed_percent(check.error)})"
    expected = result.predictions[0].largest_fit if result.predictions else check.batch_size
    if expected == check.batch_size:
        return f"predicted: batch {size} with {predicted}; {measured}"
    other = "nothing fits" if expected is None else f"batch {format_count(expected)}"
    return f"predicted: {other}, and {predicted} for batch {size}; {measured}"


def traces_text(prediction_info: PredictionInfo) -> str | None:
    """What traces of the predicted sizes say about the prediction; None if there are none."""
    if not prediction_info.checks:
        return None
    sizes = [format_count(check.batch_size) for check in sorted(prediction_info.checks, key=lambda one: one.batch_size)]
    named = sizes[0] if len(sizes) == 1 else f"{', '.join(sizes[:-1])} and {sizes[-1]}"
    worst = max((check.error for check in prediction_info.checks), key=abs)
    if all(check.agrees for check in prediction_info.checks):
        return f"the prediction was checked with a trace of batch size {named}, which agrees"
    return f"batch size {named} had to be traced as well: smaller ones alone were off by up to {signed_percent(worst)}"


def signed_percent(error: float) -> str:
    """A relative error: `+1.9 %`."""
    text = format_percent(error, decimals=1)
    return text if error < 0 else f"+{text}"


def batch_warnings(result: BatchResult) -> list[str]:
    """Warnings about the device, contradicted predictions, falling throughput, samples, and the sizes that fit."""
    memory = result.device_memory
    texts = [] if memory is None else [_others_text(memory), _emulation_text(memory), _integrated_text(memory)]
    texts += [*result.warnings, _uncounted_text(result), *map(_contradiction_text, result.contradictions)]
    collapsed = ", ".join(map(format_count, collapsed_sizes(result.attempts)))
    falling = f"Throughput at batch {collapsed} is below half of that of a smaller batch"
    texts += [f"{falling}: memory may be spilling to the host." if collapsed else None, *sample_warnings(result)]
    answers = (result.recommended, result.largest_fit)
    odd = dict.fromkeys(a.message for a in result.attempts if a.fits and a.batch_size in answers)
    return [text for text in texts if text is not None] + [sentence(message) for message in odd if message]


def _uncounted_text(result: BatchResult) -> str | None:
    if all(attempt.memory is not None for attempt in result.attempts if attempt.fits):
        return None
    return f"Memory is not measured on {result.meta.device}: which sizes fit is decided by errors alone."


def limit_text(result: BatchResult) -> str | None:
    """The error or timeout that stopped the sweep; None if memory, the data or the user did."""
    failure = smallest_failure(result)
    if failure is None or result.capped_by not in ("error", "kernel_limit", "timeout"):
        return None
    size = format_count(failure.batch_size)
    if result.capped_by == "timeout":
        return f"Batch {size} took too long, so it counts as a limit: {quote(failure)}"
    return f"Batch {size} ends in an error that smaller batches do not have, so it counts as a limit: {quote(failure)}"


def too_small_text(result: BatchResult) -> str | None:
    """The largest size that is too small for the task, with its error; None if there is none."""
    refused = too_small(result.attempts)
    if refused is None:
        return None
    return f"Batch {format_count(refused.batch_size)} is too small for this task: {quote(refused)}"


def gradient_accumulation_text(alternatives: Sequence[Alternative]) -> str:
    """How to train with a larger effective batch than the one that fits."""
    best = max((alternative.largest_fit for alternative in alternatives), default=4)
    pieces = 8 if best < 64 else 2
    return (
        f"Gradient accumulation gives a larger effective batch: batch size {format_count(best * pieces)} with "
        f"gradient_accumulation = {pieces} in the recipe needs about the memory of batch size {format_count(best)} and has "
        "the gradient of the whole batch."
    )


def _contradiction_text(contradiction: Contradiction) -> str:
    size = format_count(contradiction.batch_size)
    text = f"The prediction contradicts the measurement at batch size {size}"
    if contradiction.kind in ("fits", "does not fit"):
        predicted_to = "not to" if contradiction.kind == "fits" else "to"
        text = f"Batch size {size} {contradiction.kind}, although it was predicted {predicted_to}"
    predicted, measured, error = contradiction.predicted_bytes, contradiction.measured_bytes, contradiction.error
    if predicted is None or measured is None or error is None:
        return f"{text}."
    peaks = f"{format_bytes(predicted)} was predicted, {format_bytes(measured)} measured ({signed_percent(error)})"
    return f"{text}: a peak of allocated memory of {peaks}."


def _others_text(memory: DeviceMemory) -> str | None:
    if not memory.others and memory.others_bytes < _NOTABLE_FRACTION * memory.total_bytes:
        return None
    used = format_bytes(memory.others_bytes)
    if not memory.others:
        return f"{used} of the device were in use before this run, by unknown processes; they are subtracted."
    known = sorted(memory.others, key=lambda user: -(user.used_bytes or 0))
    names = [
        f"{user.name or 'a process'} (pid {user.pid}{'' if user.used_bytes is None else f', {format_bytes(user.used_bytes)}'})"
        for user in known[:_MAX_NAMED]
    ]
    more = f" and {format_count(len(known) - _MAX_NAMED)} more" if len(known) > _MAX_NAMED else ""
    return f"Other processes use the device: {', '.join(names)}{more}. Their {used} are subtracted."


def _emulation_text(memory: DeviceMemory) -> str | None:
    if memory.emulated_bytes is None:
        return None
    how = "measured" if memory.context_is_measured else "assumed"
    return (
        f"A GPU with {format_gpu_memory(memory.emulated_bytes)} is emulated: the limit applies only to PyTorch's allocator, and"
        f" the {how} CUDA context of {format_bytes(memory.context_bytes)} is subtracted."
    )


def _integrated_text(memory: DeviceMemory) -> str | None:
    if not memory.is_integrated:
        return None
    return "The device shares the host's memory with all other programs: if it runs short, everything slows down."
