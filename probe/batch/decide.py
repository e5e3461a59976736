"""Decide which batch size to try next, and evaluate the attempts so far. Pure.

The sweep has three phases over powers of two. *size*: from the start, halve while the size does not fit and double while it
does, until a fitting size is next to a failing one or to a limit. *throughput*: time smaller sizes until the curve bends or a
size is too small for the task. *confirm*: run the largest size again, longer and in a new process; if that fails, confirm the
next smaller one.

After an error that is not known to be a lack of memory, smaller sizes find out its cause (`errors_by_size`). If one of them
runs, the size phase continues between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from probe.batch.errors_by_size import is_bug, is_suspect, middle_between, next_check
from probe.batch.prediction_records import Prediction
from probe.batch.records import Attempt, Cap, Outcome, Purpose
from probe.errors import UsageError

DEFAULT_START = 512
SIZE_STEPS = 3
"""Training steps that show whether a size fits: the first allocates the optimizer's state, the others run with it."""
GOOD_ENOUGH = 0.95
"""Fraction of the best throughput that is sufficient. Larger batches are not faster and often generalize worse."""
MIN_CURVE_SIZES = 6
"""Minimum number of sizes in a throughput curve, including the largest that fits, if there are as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Start and end of a sweep. Sizes are rounded down to powers of two. Raises UsageError for sizes below 1."""

    start: int | None = None
    """First size; None for the predicted size or, without a prediction, DEFAULT_START."""
    max: int | None = None
    num_samples: int | None = None
    task_batch_size: int | None = None
    """Batch size set in the task. It is tried, power of two or not, if no other size runs."""
    size_only: bool = False
    """Find only the largest size that fits, without throughput curve and confirmation. Used by a search, where a batch that
    does not fit after all costs one trial."""
    curve_sizes: int | None = None
    """Number of sizes in the throughput curve; None for at least MIN_CURVE_SIZES, and more while smaller ones are as fast."""
    confirms: bool = True

    def __post_init__(self) -> None:
        for name, value in (("start", self.start), ("max", self.max)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise UsageError(f"{name} must be a batch size, an integer of at least 1, not {value!r}.")

    @property
    def bound(self) -> int | None:
        """Largest allowed batch size; None for no limit."""
        return min((limit for limit in (self.max, self.num_samples) if limit is not None), default=None)

    @property
    def first_size(self) -> int:
        """The first size to try."""
        start = DEFAULT_START if self.start is None else self.start
        return floor_power_of_two(start if self.bound is None else min(start, self.bound))


@dataclass(frozen=True, slots=True)
class NextAttempt:
    """The attempt to make next."""

    batch_size: int
    purpose: Purpose

    def failed(self, outcome: Outcome, message: str, traceback: str | None = None) -> Attempt:
        """Return the record of this attempt after a failure."""
        return Attempt(
            batch_size=self.batch_size, purpose=self.purpose, outcome=outcome, message=message, traceback=traceback
        )


@dataclass(frozen=True, slots=True)
class Duration:
    """Length of an attempt."""

    num_warmup_steps: int
    """Training steps before the timed ones, at least SIZE_STEPS."""
    min_steps: int
    max_steps: int
    seconds: float
    """Target duration of the timed steps."""
    num_batches: int = 0
    """Number of shuffled batches of the data set to train on; 0 to train on the largest samples instead."""
    batch_seconds: float = 0.0
    """Time limit of the shuffled batches: within it, they cover `num_batches` and a whole epoch; after it, one of the two."""
    max_batches: int = 1000

    def has_enough(self, num_batches: int, per_epoch: int | None, seconds: float) -> bool:
        """Return whether enough shuffled batches are done. `per_epoch` is None without epochs."""
        is_epoch = per_epoch is not None and num_batches >= per_epoch
        is_wanted = num_batches >= self.num_batches
        if seconds < self.batch_seconds:
            return (is_epoch and is_wanted) or num_batches >= self.max_batches
        return is_epoch or is_wanted


QUICK = Duration(num_warmup_steps=SIZE_STEPS, min_steps=3, max_steps=30, seconds=0.5)
UNTIMED = Duration(num_warmup_steps=SIZE_STEPS, min_steps=0, max_steps=0, seconds=0.0)


def duration_of(purpose: Purpose, confirm_steps: int, confirm_seconds: float, *, timed: bool = True) -> Duration:
    """Return the length of an attempt. Only a confirming attempt trains on shuffled batches."""
    if not timed:
        return UNTIMED
    if purpose != "confirm":
        return QUICK
    return replace(QUICK, num_batches=confirm_steps, batch_seconds=confirm_seconds)


MIN_TIMEOUT_SECONDS = 120.0
TIMEOUT_FACTOR = 10


def default_timeout(upcoming: NextAttempt, last: Attempt | None, last_seconds: float) -> float | None:
    """Return the seconds after which an attempt ends: ten times what the last size that fit took per sample. None for no limit:
    in a first attempt, whose time is not known, and in a confirming one, which repeats a size that fit."""
    if last is None or upcoming.purpose == "confirm":
        return None
    growth = max(1.0, upcoming.batch_size / last.batch_size)  # a smaller batch has the same fixed costs
    return max(MIN_TIMEOUT_SECONDS, TIMEOUT_FACTOR * growth * last_seconds)


def most_samples(batch_size: int) -> int:
    """Return the most training samples that an untimed attempt uses: its steps, and the last, partial batch of the data."""
    return (SIZE_STEPS + 1) * batch_size


def floor_power_of_two(number: int) -> int:
    """Return the largest power of two that is at most `number`, which must be at least 1."""
    return 1 << (number.bit_length() - 1)


def start_at(given: int | None, prediction: Prediction | None) -> int:
    """Return the first size: the given one, else the predicted largest fit, else DEFAULT_START."""
    if given is not None:
        return given
    return DEFAULT_START if prediction is None else prediction.largest_fit or 1


def next_attempt(attempts: Sequence[Attempt], limits: Limits) -> NextAttempt | None:
    """Return the next attempt, or None if the sweep is complete or the task fails at every size (`fatal_error`)."""
    if not attempts:
        return NextAttempt(limits.first_size, "size")
    largest = largest_fit(attempts)
    size = _next_size(attempts, limits, largest)
    if size is not None:
        return NextAttempt(size, "size")
    if largest is None or limits.size_only:
        return None
    smaller = _next_timing(attempts, limits, largest)
    if smaller is not None:
        return NextAttempt(smaller, "throughput")
    confirmed = any(a.batch_size == largest and a.purpose == "confirm" for a in attempts)
    return None if confirmed or not limits.confirms else NextAttempt(largest, "confirm")


def largest_fit(attempts: Sequence[Attempt]) -> int | None:
    """Return the largest size that fit and never failed, or None if there is none."""
    failing = _failing(attempts)
    return max((a.batch_size for a in attempts if a.fits and a.batch_size not in failing), default=None)


def recommended(attempts: Sequence[Attempt]) -> int | None:
    """Return the smallest size whose throughput is within 5 % of the best, or None if nothing fits."""
    speeds = {size: attempt.samples_per_second or 0.0 for size, attempt in timed_by_size(attempts).items()}
    best = max(speeds.values(), default=0.0)
    return min((size for size, speed in speeds.items() if speed >= GOOD_ENOUGH * best), default=None)


def timed_by_size(attempts: Sequence[Attempt]) -> dict[int, Attempt]:
    """Return the attempt whose timing counts for each size that fit and never failed, in ascending order. For comparable
    timings, the long confirming attempt of a size counts only if it has no short one."""
    failing = _failing(attempts)
    fitting = [attempt for attempt in attempts if attempt.fits and attempt.batch_size not in failing]
    fitting.sort(key=lambda attempt: (attempt.batch_size, attempt.purpose != "confirm"))
    return {attempt.batch_size: attempt for attempt in fitting}


def capped_by(attempts: Sequence[Attempt], limits: Limits) -> Cap | None:
    """Return the limit other than memory that kept the sweep from sizes above the largest fit; None if memory did."""
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
    if above.outcome == "timed_out":
        return "timeout"
    return "error" if is_suspect(above) else None


def fatal_error(attempts: Sequence[Attempt]) -> bool:
    """Return whether the task itself is broken: no size fits, and the errors do not depend on the size."""
    return largest_fit(attempts) is None and is_bug(attempts)


def too_small(attempts: Sequence[Attempt]) -> Attempt | None:
    """Return the attempt of the largest size that is too small for the task, or None. Examples are a loss over triplets, clips
    of 8 frames, and batch normalization over one sample."""
    largest = largest_fit(attempts) or 0
    failed = [a for a in attempts if a.batch_size < largest and is_suspect(a)]
    return max(failed, key=lambda a: a.batch_size, default=None)


def _failing(attempts: Sequence[Attempt]) -> set[int]:
    return {a.batch_size for a in attempts if not a.fits}


def _next_size(attempts: Sequence[Attempt], limits: Limits, largest: int | None) -> int | None:
    """Return the next size in the search for the largest fit, or None if it is known or does not exist."""
    failing = _failing(attempts)
    if largest is not None:
        above = min((size for size in failing if size > largest), default=None)
        if above is not None:
            return middle_between(largest, above)
        double = 2 * floor_power_of_two(largest)
        return double if limits.bound is None or double <= limits.bound else None
    if any(map(is_suspect, attempts)):
        return next_check(attempts, bound=limits.bound, task_batch_size=limits.task_batch_size)
    smallest = min(failing)
    return None if smallest == 1 else smallest // 2


def _next_timing(attempts: Sequence[Attempt], limits: Limits, largest: int) -> int | None:
    """Return the next smaller size to time if the curve has too few points or, unless their number is limited, its smallest
    size is as fast as the best."""
    tried = {a.batch_size for a in attempts}
    untried = largest
    while untried in tried and untried > 1:
        untried = floor_power_of_two(untried - 1)
    failed = too_small(attempts)
    if untried in tried or (failed is not None and untried < failed.batch_size):
        return None
    wanted = largest >> ((limits.curve_sizes or MIN_CURVE_SIZES) - 1)
    is_flat = recommended(attempts) == min(size for size in timed_by_size(attempts) if size > untried)
    is_flat = is_flat and limits.curve_sizes is None
    return untried if untried >= wanted or is_flat else None
