"""Decisions of a sweep on a scripted device, compared with an exhaustive search."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_records import GIB, prediction
from scripted_device import ScriptedDevice

from probe.batch.decide import (
    DEFAULT_START,
    GOOD_ENOUGH,
    MIN_TIMEOUT_SECONDS,
    QUICK,
    UNTIMED,
    Limits,
    NextAttempt,
    capped_by,
    default_timeout,
    duration_of,
    fatal_error,
    floor_power_of_two,
    largest_fit,
    next_attempt,
    recommended,
    start_at,
    timed_by_size,
)
from probe.batch.records import Attempt, Purpose
from probe.errors import UsageError

sizes = st.integers(min_value=1, max_value=2**18)
limits = st.builds(Limits, start=sizes, max=st.none() | sizes, num_samples=st.none() | sizes)
memories = st.builds(
    ScriptedDevice,
    fixed_bytes=st.integers(0, 2000),
    bytes_per_sample=st.integers(1, 500),
    limit_bytes=st.integers(1, 10**6),
    kernel_limit=st.none() | sizes,
)
rough = st.builds(
    ScriptedDevice,
    bytes_per_sample=st.integers(1, 500),
    limit_bytes=st.integers(1, 10**6),
    failures=st.dictionaries(
        st.integers(0, 18).map(lambda exponent: 1 << exponent),
        st.sampled_from(["oom", "oom_in_eval", "thrashes", "kernel_limit", "host_oom", "crashed"]),
    ),
    fails_confirmation=st.frozensets(st.integers(0, 18).map(lambda exponent: 1 << exponent)),
)
many = settings(deadline=None, max_examples=100)


def attempts_of(*outcomes: tuple[int, str] | tuple[int, str, float]) -> list[Attempt]:
    """Make attempts of (size, "fits", samples per second) or (size, another outcome)."""
    made = []
    for size, outcome, *speed in outcomes:
        timed = {"step_seconds": size / speed[0], "samples_per_second": speed[0]} if speed else {}
        made.append(Attempt(batch_size=size, purpose="size", outcome=outcome, **timed))  # type: ignore[arg-type]  # by hand
    return made


@many
@given(device=memories, limits=limits)
def test_the_answer_is_that_of_an_exhaustive_search(device: ScriptedDevice, limits: Limits) -> None:
    assert largest_fit(device.sweep(limits)) == device.exhaustive(limits)


@many
@given(device=st.one_of(memories, rough), limits=limits)
def test_the_answer_ran_fit_and_was_confirmed(device: ScriptedDevice, limits: Limits) -> None:
    attempts = device.sweep(limits)
    answer = largest_fit(attempts)
    own = [attempt for attempt in attempts if attempt.batch_size == answer]
    assert all(attempt.fits for attempt in own)
    if answer is None:
        assert min(attempt.batch_size for attempt in attempts) == 1
    else:
        assert [attempt.purpose for attempt in own].count("confirm") == 1
        above = [attempt for attempt in attempts if attempt.batch_size == 2 * answer]
        assert above or (limits.bound is not None and 2 * answer > limits.bound)
        assert not above or not all(attempt.fits for attempt in above)


@many
@given(device=st.one_of(memories, rough), limits=limits)
def test_sizes_are_powers_of_two_within_the_bounds_each_tried_once(device: ScriptedDevice, limits: Limits) -> None:
    attempts = device.sweep(limits)
    tried = [(attempt.batch_size, attempt.purpose == "confirm") for attempt in attempts]
    assert len(set(tried)) == len(tried)
    for size, _ in tried:
        assert size == floor_power_of_two(size)
        assert limits.bound is None or size <= limits.bound


@many
@given(device=memories, limits=limits, bend=st.integers(1, 2**12))
def test_the_recommendation_is_the_smallest_that_is_fast_enough(
    device: ScriptedDevice, limits: Limits, bend: int
) -> None:
    bent = ScriptedDevice(limit_bytes=device.limit_bytes, step_seconds=lambda size: max(size, bend) / 1000)
    attempts = bent.sweep(limits)
    answer = recommended(attempts)
    speeds = {a.batch_size: a.samples_per_second for a in attempts if a.samples_per_second is not None}
    if answer is None:
        assert not speeds
    else:
        good = GOOD_ENOUGH * max(speeds.values())
        assert speeds[answer] >= good
        assert all(speed < good for size, speed in speeds.items() if size < answer)
        assert answer == 1 or answer // 2 in speeds  # the curve has bent, or there is no smaller size


def test_the_order_of_a_usual_sweep() -> None:
    attempts = ScriptedDevice(limit_bytes=100).sweep(Limits())
    assert [(attempt.batch_size, attempt.purpose) for attempt in attempts] == [
        (512, "size"),
        (256, "size"),
        (128, "size"),
        (64, "size"),
        (32, "throughput"),
        (16, "throughput"),
        (8, "throughput"),
        (4, "throughput"),
        (2, "throughput"),
        (64, "confirm"),
    ]


def test_a_flat_curve_is_followed_down_until_it_bends() -> None:
    flat = ScriptedDevice(limit_bytes=2048, step_seconds=lambda size: max(size, 8) / 1000)
    attempts = flat.sweep(Limits())
    assert recommended(attempts) == 8
    assert min(attempt.batch_size for attempt in attempts) == 4


def test_a_failed_confirmation_goes_to_the_next_smaller_size() -> None:
    device = ScriptedDevice(limit_bytes=100, fails_confirmation=frozenset({64, 32}))
    attempts = device.sweep(Limits())
    assert largest_fit(attempts) == 16
    assert [attempt.batch_size for attempt in attempts if attempt.purpose == "confirm"] == [64, 32, 16]
    assert recommended(attempts) in (1, 2, 4, 8, 16)


def test_when_no_size_survives_its_confirmation_nothing_fits() -> None:
    device = ScriptedDevice(limit_bytes=3, fails_confirmation=frozenset({1, 2}))
    assert largest_fit(device.sweep(Limits(start=2))) is None


@pytest.mark.parametrize(
    ("limits", "device", "expected"),
    [
        (Limits(max=100), ScriptedDevice(), "max"),
        (Limits(num_samples=100), ScriptedDevice(), "data"),
        (Limits(max=1100, num_samples=1500), ScriptedDevice(limit_bytes=10**6), "max"),
        (Limits(max=2000, num_samples=1500), ScriptedDevice(limit_bytes=10**6), "data"),
        (Limits(), ScriptedDevice(limit_bytes=10**6, kernel_limit=5000), "kernel_limit"),
        (Limits(max=4096), ScriptedDevice(limit_bytes=10**6, kernel_limit=5000), "max"),
        (Limits(), ScriptedDevice(), None),
        (Limits(), ScriptedDevice(limit_bytes=0), None),
    ],
)
def test_what_capped_the_sweep(limits: Limits, device: ScriptedDevice, expected: str | None) -> None:
    assert capped_by(device.sweep(limits), limits) == expected


@pytest.mark.parametrize(("start", "bound", "first"), [(512, None, 512), (600, None, 512), (512, 100, 64), (1, 9, 1)])
def test_the_first_size(start: int, bound: int | None, first: int) -> None:
    plan = next_attempt([], Limits(start=start, max=bound))
    assert plan is not None
    assert (plan.batch_size, plan.purpose) == (first, "size")


@pytest.mark.parametrize("bad", [{"start": 0}, {"max": 0}, {"start": -4}, {"max": True}, {"start": 2.5}])
def test_sizes_below_one_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must be a batch size"):
        Limits(**bad)


def test_batch_normalization_at_one_sample_leaves_the_other_sizes() -> None:
    refusing = ScriptedDevice(limit_bytes=4, failures={1: "error"})
    attempts = refusing.sweep(Limits())
    assert (largest_fit(attempts), fatal_error(attempts)) == (4, False)


@pytest.mark.parametrize(
    ("device", "limits", "answer", "fatal"),
    [
        (ScriptedDevice(limit_bytes=100, failures={1: "error"}), Limits(start=1), 64, False),
        (ScriptedDevice(limit_bytes=1, failures={1: "error"}), Limits(start=1), None, False),
        (ScriptedDevice(failures={1: "error", 2: "error"}), Limits(start=1), None, True),
        (ScriptedDevice(failures={1: "error"}), Limits(start=1, max=1), None, True),
    ],
)
def test_a_sweep_that_starts_where_one_sample_is_refused_goes_on_to_two(
    device: ScriptedDevice, limits: Limits, answer: int | None, fatal: bool
) -> None:
    attempts = device.sweep(limits)
    assert (largest_fit(attempts), fatal_error(attempts)) == (answer, fatal)


def test_short_measurements_are_compared_with_short_ones() -> None:
    slow_confirmation = attempts_of((32, "fits", 90.0), (64, "fits", 100.0))
    confirmed = Attempt(
        batch_size=64, purpose="confirm", outcome="fits", num_steps=99, step_seconds=0.1, samples_per_second=640.0
    )
    assert recommended([*slow_confirmation, confirmed]) == 64
    assert recommended([*attempts_of((32, "fits", 99.0), (64, "fits", 100.0)), confirmed]) == 32


def test_a_long_run_counts_only_where_a_size_has_no_short_one() -> None:
    def fit(size: int, purpose: Purpose, rate: float) -> Attempt:
        return Attempt(
            batch_size=size,
            purpose=purpose,
            outcome="fits",
            num_steps=3,
            step_seconds=size / rate,
            samples_per_second=rate,
        )

    short, long, only_long = fit(8, "size", 100.0), fit(8, "confirm", 300.0), fit(4, "confirm", 99.0)
    assert timed_by_size([long, short, only_long]) == {4: only_long, 8: short}
    assert recommended([long, short, only_long]) == 4


def test_only_a_confirming_attempt_trains_on_shuffled_batches() -> None:
    assert duration_of("size", 200, 60.0) == duration_of("throughput", 200, 60.0) == QUICK
    confirming = duration_of("confirm", 200, 60.0)
    assert (confirming.num_batches, confirming.batch_seconds) == (200, 60.0)
    assert (confirming.max_steps, QUICK.num_batches) == (QUICK.max_steps, 0)
    assert duration_of("confirm", 200, 60.0, timed=False) == UNTIMED


def test_a_sweep_starts_at_the_given_size_or_the_predicted_one() -> None:
    predicted = prediction(8 * GIB)
    assert start_at(32, predicted) == 32
    assert start_at(None, predicted) == predicted.largest_fit
    assert start_at(None, prediction(2**20)) == 1  # predicted not to fit at all
    assert start_at(None, None) == DEFAULT_START


def test_a_failure_becomes_the_record_of_its_attempt() -> None:
    failed = NextAttempt(64, "confirm").failed("crashed", "segmentation fault", "Traceback")
    assert (failed.batch_size, failed.purpose, failed.outcome) == (64, "confirm", "crashed")
    assert (failed.message, failed.traceback, failed.fits) == ("segmentation fault", "Traceback", False)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [("crashed", "error"), ("error", "error"), ("timed_out", "timeout"), ("oom", None), ("spills", None)],
)
def test_an_error_above_the_largest_fit_caps_the_sweep(outcome: str, expected: str | None) -> None:
    attempts = attempts_of((64, outcome), (32, "fits", 100.0))
    assert capped_by(attempts, Limits()) == expected
    assert capped_by(attempts_of((1, outcome)), Limits()) is None


def test_without_confirmation_or_throughput_a_sweep_ends_at_the_size() -> None:
    device = ScriptedDevice(limit_bytes=100)
    assert {attempt.purpose for attempt in device.sweep(Limits(size_only=True))} == {"size"}
    assert {attempt.purpose for attempt in device.sweep(Limits(confirms=False))} == {"size", "throughput"}


def test_an_attempt_has_ten_times_what_the_last_size_took_per_sample() -> None:
    (last,) = attempts_of((64, "fits", 100.0))
    assert default_timeout(NextAttempt(128, "size"), last, 30.0) == 10 * 2 * 30.0
    assert default_timeout(NextAttempt(32, "throughput"), last, 30.0) == 10 * 30.0
    assert default_timeout(NextAttempt(128, "size"), last, 0.5) == MIN_TIMEOUT_SECONDS
    assert default_timeout(NextAttempt(64, "confirm"), last, 30.0) is None
    assert default_timeout(NextAttempt(512, "size"), None, 0.0) is None
