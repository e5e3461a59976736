"""Sentences about a batch probe that the report and the terminal share. Plain text; the report escapes it."""

from __future__ import annotations

from probe.batch.decide import too_small
from probe.batch.prediction_records import Contradiction, Prediction, PredictionInfo
from probe.batch.records import Alternative, Attempt, BatchResult
from probe.errors import first_line
from probe.records import DeviceMemory
from probe.report.batch.sample_text import sample_warnings
from probe.report.batch.summary import check_prediction, collapsed_sizes, smallest_failure
from probe.report.shared.markdown import shorten
from probe.units import format_bytes, format_count, format_gpu_memory, format_percent

NO_MEASUREMENT = (
    "A prediction is no measurement: run the same command on the GPU itself before you rely on a size, above all on one that "
    "leaves little room."
)
_NOTABLE_SHARE = 0.05
"""Of the device's memory: less than this, taken by nobody in particular, is the driver's own."""
_MAX_NAMED = 5


def predicted_answer(result: BatchResult) -> str:
    """The answer of a machine without a GPU, in one sentence."""
    if not result.predictions:
        return "nothing was measured, and nothing is predicted"
    fitting = [prediction for prediction in result.predictions if prediction.largest_fit is not None]
    last = result.predictions[-1]
    if not fitting:
        needed = f"which would take {format_bytes(last.peak_bytes)}"
        memory = format_gpu_memory(last.memory_bytes)
        return f"nothing should fit in {memory}, not even a batch of 1, {needed} (predicted, not run)"
    if len(result.predictions) == 1:
        memory = format_gpu_memory(last.memory_bytes)
        return f"the largest batch that should fit in {memory} is {_size(last)} (predicted, not run)"
    first, *_, final = [fitting[0], *fitting]
    sizes = f"a batch of {_size(first)} should fit on a card of {format_gpu_memory(first.memory_bytes)}"
    if final.largest_fit == first.largest_fit:
        sizes += "" if final is first else " or larger"
    else:
        sizes += f", one of {_size(final)} on a card of {format_gpu_memory(final.memory_bytes)}"
    return f"no GPU here, so this is predicted and not run: {sizes}"


def _size(prediction: Prediction) -> str:
    return format_count(prediction.largest_fit or 0)


def needs_text(result: BatchResult) -> str | None:
    """What batch size 1 would take where some card has no room for it; None where all have."""
    short = [prediction for prediction in result.predictions if prediction.largest_fit is None]
    if not short:
        return None
    return f"Where no batch size is named, not even 1 fits: the row shows what it would take, {_range(short)}."


def _range(predictions: list[Prediction]) -> str:
    texts = [format_bytes(size) for size in sorted({prediction.peak_bytes for prediction in predictions})]
    return texts[0] if len(set(texts)) == 1 else f"{texts[0]} to {texts[-1]}"


def data_bound_text(result: BatchResult) -> str | None:
    """Where the number of training samples, not memory, bounds what is predicted."""
    largest = max((prediction.largest_fit or 0 for prediction in result.predictions), default=0)
    if result.num_samples is None or 2 * largest <= result.num_samples:
        return None
    return f"The training set has {format_count(result.num_samples)} samples: no larger batch was considered."


def check_text(result: BatchResult) -> str | None:
    """Prediction and measurement side by side: `predicted batch 128 with 412 MiB, 420 MiB measured (-1.9 %)`."""
    check = check_prediction(result)
    if check is None:
        return None
    size, predicted = format_count(check.batch_size), format_bytes(check.predicted_bytes)
    measured = f"{format_bytes(check.measured_bytes)} measured ({signed_share(check.error)})"
    expected = result.predictions[0].largest_fit if result.predictions else check.batch_size
    if expected == check.batch_size:
        return f"predicted batch {size} with {predicted}, {measured}"
    larger = "that nothing fits" if expected is None else f"batch {format_count(expected)}"
    return f"predicted {larger}; for batch {size} {predicted} predicted, {measured}"


def traces_text(prediction_info: PredictionInfo) -> str | None:
    """What traces of the predicted sizes themselves say about the prediction; None where none was made."""
    if not prediction_info.checks:
        return None
    sizes = [format_count(check.batch_size) for check in sorted(prediction_info.checks, key=lambda one: one.batch_size)]
    named = sizes[0] if len(sizes) == 1 else f"{', '.join(sizes[:-1])} and {sizes[-1]}"
    worst = max((check.error for check in prediction_info.checks), key=abs)
    if all(check.agrees for check in prediction_info.checks):
        return f"the prediction was checked with a trace of batch size {named}, which agrees"
    return f"batch size {named} had to be traced as well: smaller ones alone were off by up to {signed_share(worst)}"


def signed_share(share: float) -> str:
    """A relative error: `+1.9 %`."""
    text = format_percent(share, decimals=1)
    return text if share < 0 else f"+{text}"


def result_warnings(result: BatchResult) -> list[str]:
    """What sets this device apart from an empty one whose memory is all its own, and what was odd about sizes that fit."""
    memory = result.device_memory
    told = [] if memory is None else [_others_text(memory), _emulation_text(memory), _integrated_text(memory)]
    told += map(_contradiction_text, result.contradictions)
    answers = (result.recommended, result.largest_fit)
    odd = dict.fromkeys(
        attempt.message for attempt in result.attempts if attempt.fits and attempt.batch_size in answers
    )
    texts = (*told, _collapse_text(result), *sample_warnings(result), *map(_sentence, odd))
    return [text for text in texts if text is not None]


def quote(attempt: Attempt) -> str:
    """The first line of what was said of an attempt that failed."""
    return shorten(first_line(attempt.message or "") or "no message")


def limit_text(result: BatchResult) -> str | None:
    """The error that keeps the sweep from larger batches; None where memory, the data or the user does."""
    failure = smallest_failure(result)
    if failure is None or result.capped_by not in ("error", "kernel_limit"):
        return None
    size = format_count(failure.batch_size)
    return f"Batch {size} ends in an error that smaller batches do not meet, so it counts as a limit: {quote(failure)}"


def too_small_text(result: BatchResult) -> str | None:
    """The largest size that the task refuses below those that fit, with its error."""
    refused = too_small(result.attempts)
    if refused is None:
        return None
    return f"Batch {format_count(refused.batch_size)} is too small for this task: {quote(refused)}"


def _sentence(message: str | None) -> str | None:
    return message and f"{message[0].upper()}{message[1:]}."


def _contradiction_text(told: Contradiction) -> str:
    size = format_count(told.batch_size)
    if told.kind == "fits":
        text = f"Batch size {size} fits, although it was predicted not to"
    elif told.kind == "does not fit":
        text = f"Batch size {size} does not fit, although it was predicted to"
    else:
        text = f"The prediction contradicts the measurement at batch size {size}"
    if told.predicted_bytes is None or told.measured_bytes is None or told.error is None:
        return f"{text}."
    predicted, measured = format_bytes(told.predicted_bytes), format_bytes(told.measured_bytes)
    return f"{text}: a peak of {predicted} in tensors was predicted, {measured} measured ({signed_share(told.error)})."


def _others_text(memory: DeviceMemory) -> str | None:
    if not memory.others and memory.others_bytes < _NOTABLE_SHARE * memory.total_bytes:
        return None
    if not memory.others:
        taken = format_bytes(memory.others_bytes)
        return f"{taken} of the device were taken before this run began, nobody says by whom; they are subtracted."
    known = sorted(memory.others, key=lambda user: -(user.used_bytes or 0))
    names = [
        f"{user.name or 'a process'} (pid {user.pid}{'' if user.used_bytes is None else f', {format_bytes(user.used_bytes)}'})"
        for user in known[:_MAX_NAMED]
    ]
    more = f" and {format_count(len(known) - _MAX_NAMED)} more" if len(known) > _MAX_NAMED else ""
    return f"Others use the device: {', '.join(names)}{more}. The {format_bytes(memory.others_bytes)} taken are subtracted."


def _emulation_text(memory: DeviceMemory) -> str | None:
    if memory.emulated_bytes is None:
        return None
    how = "measured" if memory.context_is_measured else "assumed"
    return (
        f"An emulation of a card of {format_gpu_memory(memory.emulated_bytes)}: the limit binds PyTorch's allocator only; "
        f"the {how} context of {format_bytes(memory.context_bytes)} is subtracted."
    )


def _integrated_text(memory: DeviceMemory) -> str | None:
    if not memory.is_integrated:
        return None
    return "The device's memory is the host's: other programs take from it too, and where it runs short everything slows down."


def _collapse_text(result: BatchResult) -> str | None:
    sizes = collapsed_sizes(result.attempts)
    if not sizes:
        return None
    where = ", ".join(format_count(size) for size in sizes)
    return f"Throughput at batch {where} is below half of a smaller batch's: memory may be spilling to the host."


def gradient_accumulation_text(alternatives: tuple[Alternative, ...]) -> str:
    """How a small batch that fits becomes a larger one."""
    best = max((alternative.largest_fit for alternative in alternatives), default=4)
    pieces = 8 if best < 64 else 2
    return (
        f"Accumulation reaches a larger effective batch from a small one: a batch of {format_count(best * pieces)} with "
        f"accumulation = {pieces} in the recipe needs about the memory of {format_count(best)}, with the gradient of the whole."
    )
