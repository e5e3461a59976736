"""The cause of an error at one batch size: a limit, too small a batch, or a bug of the task."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.batch.decide import (
    Limits,
    NextAttempt,
    capped_by,
    fatal_error,
    floor_power_of_two,
    largest_fit,
    next_attempt,
    too_small,
)
from probe.batch.errors_by_size import middle_between
from probe.batch.records import Attempt, Outcome

LARGEST = 2**17
SUSPECT: list[Outcome] = ["error", "kernel_limit", "crashed"]
many = settings(deadline=None, max_examples=300)
sizes = st.integers(1, LARGEST)
same_text = "RuntimeError: expected {size} to match 48"


@dataclass(frozen=True, kw_only=True)
class Island:
    """A task that runs with batches of `low` to `high` samples. Messages of its errors may contain the size."""

    low: int = 1
    high: int = LARGEST
    below_text: str = "RuntimeError: selected index k out of range"
    above: Outcome = "error"
    above_text: str = "RuntimeError: FIND was unable to find an engine"

    def attempt(self, plan: NextAttempt) -> Attempt:
        size = plan.batch_size
        if self.low <= size <= self.high:
            return Attempt(
                batch_size=size, purpose=plan.purpose, outcome="fits", step_seconds=1.0, samples_per_second=float(size)
            )
        outcome, text = ("error", self.below_text) if size < self.low else (self.above, self.above_text)
        return Attempt(
            batch_size=size,
            purpose=plan.purpose,
            outcome=outcome,  # type: ignore[arg-type]  # mypy takes the tuple's first item for a str
            message=text.format(size=size),
        )

    def sweep(self, limits: Limits) -> list[Attempt]:
        attempts: list[Attempt] = []
        while (plan := next_attempt(attempts, limits)) is not None:
            attempts.append(self.attempt(plan))
            assert len(attempts) <= 3 * 18 + 6, "the sweep does not end"
        return attempts

    def sizes_tried(self, limits: Limits) -> list[int]:
        return [attempt.batch_size for attempt in self.sweep(limits) if attempt.purpose == "size"]


class Broken(Island):
    """Fails at every size."""

    def __init__(self, outcome: Outcome, text: str) -> None:
        super().__init__(low=1, high=0, above=outcome, above_text=text)


@st.composite
def islands(draw: st.DrawFn) -> Island:
    low = draw(sizes)
    high = draw(st.integers(low, LARGEST))
    above: Outcome = draw(st.sampled_from([*SUSPECT, "oom", "host_oom", "thrashes"]))
    below_text, above_text = draw(
        st.sampled_from([("few", "many"), ("{size} few", "{size} many"), (same_text, same_text)])
    )
    return Island(low=low, high=high, above=above, below_text=below_text, above_text=above_text)


@many
@given(island=islands(), start=sizes, size_only=st.booleans(), data=st.data())
def test_the_sizes_that_run_are_found_where_the_tasks_own_size_is_one_of_them(
    island: Island, start: int, size_only: bool, data: st.DataObject
) -> None:
    own = data.draw(st.integers(island.low, island.high), label="own")
    bound = data.draw(st.none() | st.integers(own, LARGEST), label="bound")
    limits = Limits(start=start, max=bound, task_batch_size=own, size_only=size_only)
    attempts = island.sweep(limits)
    answer = largest_fit(attempts)
    power = floor_power_of_two(min(island.high, bound or LARGEST))
    if power < island.low:
        assert answer == own
    else:
        assert answer is not None
        assert answer in (power, own)
        assert answer >= power
    assert not fatal_error(attempts)


@many
@given(high=sizes, above=st.sampled_from(SUSPECT), text=st.sampled_from(["fixed", "{size} rows"]), start=sizes)
def test_an_error_that_only_larger_batches_meet_is_a_limit(high: int, above: Outcome, text: str, start: int) -> None:
    island = Island(high=high, above=above, above_text=text)
    limits = Limits(start=start, max=LARGEST)
    attempts = island.sweep(limits)
    assert largest_fit(attempts) == floor_power_of_two(high)
    assert not fatal_error(attempts)
    if floor_power_of_two(high) < LARGEST:
        assert capped_by(attempts, limits) == ("kernel_limit" if above == "kernel_limit" else "error")
    num_sizes = sum(attempt.purpose == "size" for attempt in attempts)
    assert num_sizes <= 7 or start <= high  # the middle of what is left each time, where the start is too large


@many
@given(
    start=sizes,
    bound=st.none() | sizes,
    own=st.none() | sizes,
    outcome=st.sampled_from(SUSPECT),
    text=st.sampled_from(["AssertionError", "ValueError: {size} rows"]),
)
def test_a_bug_at_every_size_ends_the_sweep_soon(
    start: int, bound: int | None, own: int | None, outcome: Outcome, text: str
) -> None:
    attempts = Broken(outcome, text).sweep(Limits(start=start, max=bound, task_batch_size=own))
    assert fatal_error(attempts)
    assert len(attempts) <= 3


@many
@given(
    failures=st.dictionaries(
        st.integers(0, 17).map(lambda exponent: 1 << exponent),
        st.tuples(st.sampled_from([*SUSPECT, "oom", "thrashes"]), st.sampled_from(["a", "b", "{size} c"])),
    ),
    start=sizes,
    own=st.none() | sizes,
)
def test_a_sweep_ends_whatever_fails(failures: dict[int, tuple[Outcome, str]], start: int, own: int | None) -> None:
    class Arbitrary(Island):
        def attempt(self, plan: NextAttempt) -> Attempt:
            if plan.batch_size not in failures:
                return super().attempt(plan)
            outcome, text = failures[plan.batch_size]
            return Broken(outcome, text).attempt(plan)

    attempts = Arbitrary().sweep(Limits(start=start, task_batch_size=own, max=LARGEST))
    tried = [(attempt.batch_size, attempt.purpose == "confirm") for attempt in attempts]
    assert len(set(tried)) == len(tried)
    answer = largest_fit(attempts)
    assert answer is None or answer not in failures
    assert (answer is None) == (fatal_error(attempts) or all(not attempt.fits for attempt in attempts))


def test_the_same_error_at_one_sample_is_the_tasks() -> None:
    unsupported = Broken("kernel_limit", "RuntimeError: cuDNN error: CUDNN_STATUS_NOT_SUPPORTED")
    assert unsupported.sizes_tried(Limits(task_batch_size=64)) == [512, 1]


def test_a_limit_is_sought_in_the_middle_of_what_is_left() -> None:
    assert Island(high=100).sizes_tried(Limits(task_batch_size=64)) == [512, 1, 16, 64, 128]


@pytest.mark.parametrize(
    ("island", "limits", "tried"),
    [
        (Island(low=2, high=100), Limits(task_batch_size=64), [512, 1, 2, 32, 128, 64]),  # batch normalization
        (Island(low=8, high=100), Limits(task_batch_size=64), [512, 1, 2, 64, 128]),  # clips of 8
        (Island(low=8, high=100), Limits(start=1, task_batch_size=64), [1, 2, 64, 128]),
        (Island(low=8, high=100, above="oom"), Limits(start=4, task_batch_size=64), [4, 1, 64, 128]),
        (
            Island(low=64, high=64, below_text=same_text, above_text=same_text),
            Limits(task_batch_size=64),
            [512, 1, 64, 128],
        ),
        (Island(low=48, high=48, below_text="", above_text=""), Limits(task_batch_size=48), [512, 1, 48, 128, 64]),
        (Island(low=3, high=5), Limits(task_batch_size=64), [512, 1, 2, 64, 8, 4]),
    ],
)
def test_the_order_of_sizes(island: Island, limits: Limits, tried: list[int]) -> None:
    assert island.sizes_tried(limits) == tried


@pytest.mark.parametrize(
    ("attempts", "fatal"),
    [
        ([(512, "error", "a")], True),  # nothing smaller is allowed
        ([(512, "fits", ""), (1024, "error", "a")], False),
        ([(2, "oom", ""), (1, "error", "one sample")], False),
        ([(8, "oom", ""), (4, "error", "a"), (1, "error", "a")], True),
        ([(8, "oom", ""), (4, "error", "a"), (1, "error", "b"), (2, "error", "b")], False),
        ([(512, "error", "a 512"), (1, "error", "a 1"), (64, "oom", "")], False),  # it runs at 64, out of memory
        ([(512, "crashed", "a"), (1, "crashed", "a")], True),
        ([(512, "error", "a"), (1, "error", "one sample"), (2, "error", "a")], True),
        ([(4, "oom", ""), (1, "oom", "")], False),
    ],
)
def test_what_is_a_bug(attempts: list[tuple[int, Outcome, str]], fatal: bool) -> None:
    made = []
    for size, outcome, text in attempts:
        made.append((Island() if outcome == "fits" else Broken(outcome, text)).attempt(NextAttempt(size, "size")))
    assert fatal_error(made) is fatal


def test_the_curve_begins_above_sizes_that_are_too_small() -> None:
    attempts = Island(low=8, high=100, above="oom").sweep(Limits())
    assert [a.batch_size for a in attempts if a.purpose == "throughput"] == [32, 16, 8, 4]
    assert [a.batch_size for a in attempts if a.purpose == "confirm"] == [64]
    refused = too_small(attempts)
    assert refused is not None
    assert refused.batch_size == 4
    assert too_small(Island(high=100).sweep(Limits())) is None


@given(low=sizes, high=sizes)
def test_the_middle_lies_between(low: int, high: int) -> None:
    middle = middle_between(low, high)
    powers = [1 << exponent for exponent in range(18) if low < 1 << exponent < high]
    assert (middle is None) == (not powers)
    if middle is not None:
        assert middle in powers
        assert abs(powers.index(middle) * 2 - len(powers) + 1) <= 1
