"""Find the cause of errors that may depend on the batch size. Pure: attempts in, sizes and causes out.

The text of an error that is not known to be a lack of memory does not show its cause; other sizes do. If a smaller batch
runs, the error is a limit. If only larger batches run, the batch was too small for the task. If every size fails with the
same error, the task has a bug. So after such an error, small sizes are tried, then the batch size set in the task, then sizes
in between.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from probe.batch.records import MEMORY_OUTCOMES, Attempt
from probe.records import DEFAULT_BATCH_SIZE

_SMALL_SIZES = (1, 2)
"""A single sample takes the least memory; batch normalization needs two."""
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+", re.IGNORECASE)


def is_suspect(attempt: Attempt) -> bool:
    """Return whether the attempt failed with an error that may be a limit, too small a batch, or a bug."""
    return not attempt.fits and attempt.outcome not in MEMORY_OUTCOMES


def suspects_by_size(attempts: Sequence[Attempt]) -> dict[int, Attempt]:
    """Return the last suspect attempt of each batch size, in ascending order of sizes."""
    return {
        attempt.batch_size: attempt for attempt in sorted(attempts, key=lambda a: a.batch_size) if is_suspect(attempt)
    }


def is_bug(attempts: Sequence[Attempt]) -> bool:
    """Return whether the task's code has a bug, given that no size fits. Below sizes that run out of memory, it takes two sizes
    with the same error; a single one is too small: a model may not accept one sample."""
    suspects = suspects_by_size(attempts)
    if not suspects:
        return False
    out_of_memory = [attempt.batch_size for attempt in attempts if attempt.outcome in MEMORY_OUTCOMES]
    if not out_of_memory:
        return True
    return min(out_of_memory) > max(suspects) and min(_alike(suspects, max(suspects))) < max(suspects)


def next_check(attempts: Sequence[Attempt], *, bound: int | None, task_batch_size: int | None) -> int | None:
    """Return the size that shows the cause of suspect failures while nothing fits, or None if no size would."""
    suspects = suspects_by_size(attempts)
    out_of_memory = [attempt.batch_size for attempt in attempts if attempt.outcome in MEMORY_OUTCOMES]
    tried = {attempt.batch_size for attempt in attempts}

    def is_open(size: int) -> bool:
        return size not in tried and (bound is None or size <= bound) and size < min(out_of_memory, default=size + 1)

    small = next(filter(is_open, _SMALL_SIZES), None)
    own = task_batch_size if task_batch_size is not None and is_open(task_batch_size) else None
    if len(suspects) == 1:
        return small or own
    smallest, largest = min(suspects), max(suspects)
    like_largest = _alike(suspects, largest)
    if smallest in like_largest:
        texts = {attempt.message for attempt in suspects.values()}
        # If the errors are identical, only a size that the user chose is worth another attempt.
        worth_trying = own is not None and (own > largest or own != DEFAULT_BATCH_SIZE or len(texts) > 1)
        return own if worth_trying else None
    if min(like_largest) in _SMALL_SIZES and largest not in _SMALL_SIZES:
        return None
    too_small, too_large = max(_alike(suspects, smallest)), min([*like_largest, *out_of_memory])
    return small or own or middle_between(too_small, too_large, tried)


def middle_between(low: int, high: int, tried: set[int] | frozenset[int] = frozenset()) -> int | None:
    """Return the middle untried power of two strictly between `low` and `high`, or None if there is none."""
    powers = (1 << exponent for exponent in range(low.bit_length(), max(high - 1, 0).bit_length()))
    between = [size for size in powers if size not in tried]
    return between[(len(between) - 1) // 2] if between else None


def _alike(suspects: Mapping[int, Attempt], size: int) -> list[int]:
    """Return the sizes with the same outcome and message as `size`, itself included. Numbers in messages may differ."""
    wanted = _signature(suspects[size])
    return [other for other, attempt in suspects.items() if _signature(attempt) == wanted]


def _signature(attempt: Attempt) -> tuple[str, str]:
    return attempt.outcome, _NUMBERS.sub("#", attempt.message or "")
