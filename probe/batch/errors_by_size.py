"""Errors that depend on the batch size. Pure: attempts in, sizes and verdicts out.

An error that is not known to be a lack of memory says nothing by itself, whatever its words. Where a smaller batch runs, it
is a limit; where only larger ones run, the batch was too small for the task; where every size fails alike, it is a bug of
the task. So after such an error, small sizes are tried, then the batch size that the task asks for, then sizes in between.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from probe.batch.records import MEMORY_OUTCOMES, Attempt
from probe.records import DEFAULT_BATCH_SIZE

_SMALL_SIZES = (1, 2)
"""A single sample takes the least memory; batch normalization needs a second one."""
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+", re.IGNORECASE)


def is_suspect(attempt: Attempt) -> bool:
    """Whether the attempt failed in a way that may be a limit, a batch that is too small, or a bug."""
    return not attempt.fits and attempt.outcome not in MEMORY_OUTCOMES


def suspects_by_size(attempts: Sequence[Attempt]) -> dict[int, Attempt]:
    """Batch size -> its last suspect attempt, sizes growing."""
    return {
        attempt.batch_size: attempt for attempt in sorted(attempts, key=lambda a: a.batch_size) if is_suspect(attempt)
    }


def is_bug(attempts: Sequence[Attempt]) -> bool:
    """Whether the task's own code is broken, given that no size fits: memory is not the reason.

    Errors below sizes that run out of memory are a bug where two sizes fail alike. A single one is a size that is too small:
    a model may refuse one sample.
    """
    suspects = suspects_by_size(attempts)
    if not suspects:
        return False
    out_of_memory = [attempt.batch_size for attempt in attempts if attempt.outcome in MEMORY_OUTCOMES]
    if not out_of_memory:
        return True
    return min(out_of_memory) > max(suspects) and min(_alike(suspects, max(suspects))) < max(suspects)


def next_check(attempts: Sequence[Attempt], *, bound: int | None, own_size: int | None) -> int | None:
    """The size to try where nothing fits and some sizes are suspect; None where no other size would tell more.

    `own_size` is the batch size that the task asks for.
    """
    suspects = suspects_by_size(attempts)
    out_of_memory = [attempt.batch_size for attempt in attempts if attempt.outcome in MEMORY_OUTCOMES]
    tried = {attempt.batch_size for attempt in attempts}

    def is_open(size: int) -> bool:
        return size not in tried and (bound is None or size <= bound) and size < min(out_of_memory, default=size + 1)

    small = next(filter(is_open, _SMALL_SIZES), None)
    own = own_size if own_size is not None and is_open(own_size) else None
    if len(suspects) == 1:
        return small or own
    smallest, largest = min(suspects), max(suspects)
    like_largest = _alike(suspects, largest)
    if smallest in like_largest:
        texts = {attempt.message for attempt in suspects.values()}
        # Word for word the same error: only a size that the user chose is worth another attempt.
        worth_trying = own is not None and (own > largest or own != DEFAULT_BATCH_SIZE or len(texts) > 1)
        return own if worth_trying else None
    if min(like_largest) in _SMALL_SIZES and largest not in _SMALL_SIZES:
        return None
    too_small, too_large = max(_alike(suspects, smallest)), min([*like_largest, *out_of_memory])
    return small or own or middle_between(too_small, too_large, tried)


def middle_between(low: int, high: int, tried: set[int] | frozenset[int] = frozenset()) -> int | None:
    """The middle one of the powers of two strictly between that were not tried; None where there is none."""
    powers = (1 << exponent for exponent in range(low.bit_length(), max(high - 1, 0).bit_length()))
    between = [size for size in powers if size not in tried]
    return between[(len(between) - 1) // 2] if between else None


def _alike(suspects: Mapping[int, Attempt], size: int) -> list[int]:
    """Sizes that failed as `size` did, itself included: in the same way, and in the same words but for numbers."""
    wanted = _essence(suspects[size])
    return [other for other, attempt in suspects.items() if _essence(attempt) == wanted]


def _essence(attempt: Attempt) -> tuple[str, str]:
    return attempt.outcome, _NUMBERS.sub("#", attempt.message or "")
