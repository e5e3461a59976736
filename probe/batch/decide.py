"""Which batch size to try next, and what the attempts so far say. Pure: sizes and outcomes in, sizes out.

Three phases over powers of two. *size*: from the start, halve while it does not fit, double while it does, until a fitting
size stands next to a failing one or to a cap. *throughput*: time smaller sizes until the curve has bent, or a size is too
small for the task. *confirm*: run the winner again, longer and in a fresh process; where that fails, the next smaller one.

After an error that is not known to be a lack of memory, a small size decides what it is (`errors_by_size`). Where that one
runs, the size phase goes on between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probe.batch.errors_by_size import is_bug, is_suspect, middle_between, next_check
from probe.batch.records import Attempt, Cap, Prediction, Purpose
from probe.errors import UsageError

DEFAULT_START = 512
SIZE_STEPS = 3
"""Training steps that tell whether a size fits: optimizer state appears in the first and is resident from the second on."""
GOOD_ENOUGH = 0.95
"""Of the best throughput: larger batches than needed for that buy nothing (and often cost generalization)."""
MIN_CURVE_SIZES = 6
"""Sizes that a throughput curve has at least, the largest fitting one included, where there are so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Where the sweep starts and ends; sizes that are no powers of two are rounded down. Raises UsageError below 1."""

    start: int = DEFAULT_START
    max: int | None = None
    num_samples: int | None = None
    """Of the training set; None where there are always more."""
    own_size: int | None = None
    """The batch size that the task asks for: tried, power of two or not, where no other size runs."""
    size_only: bool = False
    """Find the largest that fits and leave it at that: no throughput curve, no confirmation. For a search, where a batch
    that does not fit after all costs one trial and not the answer."""
    confirms: bool = True
    """Run the winner again, longer."""

    def __post_init__(self) -> None:
        for name, value in (("start", self.start), ("max", self.max)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise UsageError(f"{name} must be a batch size, a whole number of at least 1, not {value!r}.")

    @property
    def bound(self) -> int | None:
        """No batch may be larger."""
        return min((limit for limit in (self.max, self.num_samples) if limit is not None), default=None)

    @property
    def first_size(self) -> int:
        return floor_power_of_two(self.start if self.bound is None else min(self.start, self.bound))


@dataclass(frozen=True, slots=True)
class Plan:
    """The attempt to make next."""

    batch_size: int
    purpose: Purpose


def most_samples(batch_size: int) -> int:
    """Training samples that an attempt which is not timed sees at most: its steps, and the data set's last, partial batch."""
    return (SIZE_STEPS + 1) * batch_size


def floor_power_of_two(number: int) -> int:
    """The largest power of two that is not above `number` (at least 1)."""
    return 1 << (number.bit_length() - 1)


def start_at(given: int | None, prediction: Prediction | None) -> int:
    """The first size: what the user says, else what is predicted to be the answer, else 512."""
    if given is not None:
        return given
    return DEFAULT_START if prediction is None else prediction.largest_fit or 1


def next_attempt(attempts: Sequence[Attempt], limits: Limits) -> Plan | None:
    """What to try after `attempts`; None when everything is known, or nothing will be (`fatal_error`)."""
    if not attempts:
        return Plan(limits.first_size, "size")
    largest = largest_fit(attempts)
    size = _next_size(attempts, limits, largest)
    if size is not None:
        return Plan(size, "size")
    if largest is None or limits.size_only:
        return None
    smaller = _next_timing(attempts, largest)
    if smaller is not None:
        return Plan(smaller, "throughput")
    confirmed = any(a.batch_size == largest and a.purpose == "confirm" for a in attempts)
    return None if confirmed or not limits.confirms else Plan(largest, "confirm")


def largest_fit(attempts: Sequence[Attempt]) -> int | None:
    """The largest size that ran, fit, and never failed; None if there is none."""
    failing = _failing(attempts)
    return max((a.batch_size for a in attempts if a.fits and a.batch_size not in failing), default=None)


def recommended(attempts: Sequence[Attempt]) -> int | None:
    """The smallest size whose throughput is within 5 % of the best; None if nothing fits."""
    speeds = {size: attempt.samples_per_second or 0.0 for size, attempt in timed_by_size(attempts).items()}
    best = max(speeds.values(), default=0.0)
    return min((size for size, speed in speeds.items() if speed >= GOOD_ENOUGH * best), default=None)


def timed_by_size(attempts: Sequence[Attempt]) -> dict[int, Attempt]:
    """Batch size -> the attempt whose timing counts, sizes growing: over those that fit and never failed.

    Like is compared with like: the long confirming run of a size counts only where it has no short one.
    """
    failing = _failing(attempts)
    fitting = [attempt for attempt in attempts if attempt.fits and attempt.batch_size not in failing]
    fitting.sort(key=lambda attempt: (attempt.batch_size, attempt.purpose != "confirm"))
    return {attempt.batch_size: attempt for attempt in fitting}


def capped_by(attempts: Sequence[Attempt], limits: Limits) -> Cap | None:
    """What kept the sweep from sizes above the largest that fits, where that is not memory."""
    largest = largest_fit(attempts)
    if largest is None:
        return None
    failed = [a for a in attempts if a.batch_size > largest and not a.fits]
    if not failed:
        if limits.bound is None or 2 * floor_power_of_two(largest) <= limits.bound:
            return None
        return "max" if limits.bound == limits.max else "data"
    above = min(failed, key=lambda a: a.batch_size)
    if above.outcome == "kernel_limit":
        return "kernel_limit"
    return "error" if is_suspect(above) else None


def fatal_error(attempts: Sequence[Attempt]) -> bool:
    """Whether the task itself is broken: no size fits, and errors that have nothing to do with the size are the reason."""
    return largest_fit(attempts) is None and is_bug(attempts)


def too_small(attempts: Sequence[Attempt]) -> Attempt | None:
    """Of the sizes below the largest that fits, the largest that the task refuses: a loss over triplets, clips of 8 frames,
    batch normalization over one sample."""
    largest = largest_fit(attempts) or 0
    refused = [a for a in attempts if a.batch_size < largest and is_suspect(a)]
    return max(refused, key=lambda a: a.batch_size, default=None)


def _failing(attempts: Sequence[Attempt]) -> set[int]:
    return {a.batch_size for a in attempts if not a.fits}


def _next_size(attempts: Sequence[Attempt], limits: Limits, largest: int | None) -> int | None:
    """The next size on the way to the largest that fits; None where that is known, or that there is none."""
    failing = _failing(attempts)
    if largest is not None:
        above = min((size for size in failing if size > largest), default=None)
        if above is not None:
            return middle_between(largest, above)
        double = 2 * floor_power_of_two(largest)
        return double if limits.bound is None or double <= limits.bound else None
    if any(map(is_suspect, attempts)):
        return next_check(attempts, bound=limits.bound, own_size=limits.own_size)
    smallest = min(failing)
    return None if smallest == 1 else smallest // 2


def _next_timing(attempts: Sequence[Attempt], largest: int) -> int | None:
    """The next smaller size worth timing: the curve has too few points, or its smallest point is as good as the best."""
    tried = {a.batch_size for a in attempts}
    untried = largest
    while untried in tried and untried > 1:
        untried = floor_power_of_two(untried - 1)
    refused = too_small(attempts)
    if untried in tried or (refused is not None and untried < refused.batch_size):
        return None
    wanted = largest >> (MIN_CURVE_SIZES - 1)
    still_flat = recommended(attempts) == min(size for size in timed_by_size(attempts) if size > untried)
    return untried if untried >= wanted or still_flat else None
