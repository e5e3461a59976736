from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from probe.search.records.search import BudgetLimits
from probe.search.schedulers.asha import AsynchronousSuccessiveHalving
from probe.search.schedulers.protocol import Promotion, Scheduler
from probe.search.study.budget import (
    MIN_PROBE_SAMPLES,
    MIN_PROBE_STEPS,
    NewTrial,
    Usage,
    epochs_left,
    next_step,
    outlook,
    probe_allowance,
    probe_steps,
    reached_limit,
    steps_in_epochs,
)

quick = settings(deadline=None, max_examples=100)
limits = st.builds(
    BudgetLimits,
    trials=st.none() | st.integers(1, 50),
    epochs=st.none() | st.floats(0.5, 300),
    time_seconds=st.none() | st.floats(1, 1000),
)
usages = st.builds(
    Usage,
    trials=st.integers(0, 60),
    spent_epochs=st.floats(0, 300),
    promised_epochs=st.integers(0, 50).map(float),
    seconds=st.floats(0, 1000),
)


def make_scheduler(rungs: tuple[int, ...], num_trials: int) -> Scheduler:
    scheduler = AsynchronousSuccessiveHalving(rungs, factor=3, mode="max")
    for number in range(num_trials):
        scheduler.record(number, 0, float(number))
    return scheduler


@quick
@given(limits, usages, st.floats(0.01, 100) | st.none(), st.integers(0, 12), st.booleans())
def test_no_step_exceeds_a_limit(
    limit: BudgetLimits, usage: Usage, seconds: float | None, num_trials: int, can_ask: bool
) -> None:
    scheduler = make_scheduler((1, 3, 9), num_trials)
    step = next_step(scheduler, limit, usage, pace=seconds, can_ask=can_ask)
    if step is None:
        return
    cost = scheduler.costs[step.rung if isinstance(step, Promotion) else 0]
    assert cost <= epochs_left(limit, usage)
    assert limit.time_seconds is None or usage.seconds < limit.time_seconds
    if limit.time_seconds is not None and seconds is not None:
        assert usage.seconds + cost * seconds <= limit.time_seconds * (1 + 1e-9)
    if isinstance(step, NewTrial):
        assert can_ask
        assert limit.trials is None or usage.trials < limit.trials


@quick
@given(limits, usages, st.floats(0.01, 100) | st.none(), st.integers(0, 12))
def test_a_search_that_can_ask_stops_only_at_a_limit(
    limit: BudgetLimits, usage: Usage, seconds: float | None, num_trials: int
) -> None:
    scheduler = make_scheduler((1, 3, 9), num_trials)
    pace = seconds
    if next_step(scheduler, limit, usage, pace=pace) is None:
        assert reached_limit(scheduler, limit, usage, pace=pace) is not None


def test_promotions_go_before_new_trials() -> None:
    plenty = BudgetLimits(epochs=1000)
    assert next_step(make_scheduler((1, 3, 9), 2), plenty, Usage(trials=2)) == NewTrial()
    assert next_step(make_scheduler((1, 3, 9), 3), plenty, Usage(trials=3)) == Promotion(number=2, rung=1)


def test_the_last_epochs_carry_paused_trials_up() -> None:
    scheduler = make_scheduler((1, 3, 9), 2)
    limit = BudgetLimits(epochs=60)
    assert next_step(scheduler, limit, Usage(trials=2, spent_epochs=53)) == NewTrial()
    assert next_step(scheduler, limit, Usage(trials=2, spent_epochs=54)) == Promotion(number=1, rung=1)
    assert next_step(scheduler, limit, Usage(trials=2, spent_epochs=59)) == NewTrial()  # one epoch fits nothing else
    assert next_step(scheduler, limit, Usage(trials=2, spent_epochs=59.5)) is None


def test_a_budget_smaller_than_one_full_trial_still_starts_some() -> None:
    scheduler = make_scheduler((1, 3, 9, 27), 0)
    assert next_step(scheduler, BudgetLimits(epochs=6), Usage()) == NewTrial()


def test_when_the_trials_are_used_up_the_best_climbs_to_the_top() -> None:
    scheduler = make_scheduler((1, 3, 9), 2)
    limit = BudgetLimits(trials=2)
    first = next_step(scheduler, limit, Usage(trials=2))
    assert first == Promotion(number=1, rung=1)
    scheduler.promote(first)
    scheduler.record(1, 1, 1.0)
    second = next_step(scheduler, limit, Usage(trials=2))
    assert second == Promotion(number=1, rung=2)
    scheduler.promote(second)
    assert next_step(scheduler, limit, Usage(trials=2)) is None
    assert reached_limit(scheduler, limit, Usage(trials=2)) == "trials"


def test_without_a_scheduler_the_whole_budget_goes_to_new_trials() -> None:
    scheduler = AsynchronousSuccessiveHalving((9,), factor=3, mode="max")
    assert next_step(scheduler, BudgetLimits(epochs=60), Usage(trials=5, spent_epochs=51)) == NewTrial()
    assert next_step(scheduler, BudgetLimits(epochs=60), Usage(trials=5, spent_epochs=52)) is None


@quick
@given(
    st.floats(1, 1000),
    st.floats(0, 50),
    st.floats(0, 20),
    st.integers(1, 5),
    st.integers(1, 512),
    st.integers(50, 60_000),
)
def test_probes_stay_within_a_tenth_of_the_epochs_and_leave_a_trial(
    epochs: float, spent: float, first: float, num_probes: int, batch_size: int, num_train: int
) -> None:
    steps = probe_steps(
        limits=BudgetLimits(epochs=epochs),
        first_rung_epochs=first,
        spent_epochs=spent,
        num_probes=num_probes,
        batch_size=batch_size,
        num_train_samples=num_train,
        wanted=300,
    )
    assert steps == 0 or MIN_PROBE_STEPS <= steps <= 300
    cost = num_probes * steps_in_epochs(num_steps=steps, batch_size=batch_size, num_train_samples=num_train)
    assert steps == 0 or cost + spent <= min(epochs / 10, epochs - first) + 1e-6
    is_enough = steps > MIN_PROBE_STEPS and steps * batch_size >= MIN_PROBE_SAMPLES + batch_size
    assert not is_enough or cost + spent <= epochs / 20 + 1e-6


def test_without_a_limit_on_epochs_probes_take_what_they_want() -> None:
    steps = probe_steps(
        limits=BudgetLimits(trials=5),
        first_rung_epochs=1,
        spent_epochs=99,
        num_probes=2,
        batch_size=64,
        num_train_samples=100,
        wanted=300,
    )
    assert steps == 300
    assert math.isinf(epochs_left(BudgetLimits(trials=5), Usage(spent_epochs=99)))


@quick
@given(limits, usages, st.floats(0.01, 100) | st.none(), st.integers(1, 8), st.none() | st.integers(0, 9))
def test_the_outlook_is_no_more_than_the_limits_leave(
    limit: BudgetLimits, usage: Usage, seconds: float | None, num_slots: int, left_in_space: int | None
) -> None:
    scheduler = make_scheduler((1, 3, 9), 3)
    found = outlook(
        scheduler, limit, usage, pace=seconds, num_slots=num_slots,
        max_new=math.inf if left_in_space is None else left_in_space, prices=(1.0, 2.0, 6.0), on_the_way={1: 1},
    )  # fmt: skip
    assert found.first_new == usage.trials
    assert 0 <= found.new_trials <= (math.inf if left_in_space is None else left_in_space)
    if limit.trials is not None:
        assert found.new_trials <= max(0, limit.trials - usage.trials)
    if limit.epochs is not None:
        assert found.epochs <= max(0.0, limit.epochs - usage.spent_epochs) + 1e-6
    assert 0 < found.open_epochs <= found.epochs + usage.promised_epochs
    # Only while new trials may start do the last promotions have to share the rest of the budget with them.
    assert found.new_trials > 0 or found.open_epochs <= 1e-6
    # Without any limit on what is left, nothing is out of reach.
    if limit.epochs is None and (limit.time_seconds is None or seconds is None):
        assert math.isinf(found.epochs)


def test_the_limit_that_ends_a_search_is_named() -> None:
    scheduler, pace = make_scheduler((2, 6), 0), 10.0
    limit = BudgetLimits(trials=3, epochs=20, time_seconds=100)
    used = [
        Usage(trials=1, spent_epochs=5, seconds=50), Usage(trials=1, spent_epochs=5, seconds=81),
        Usage(trials=1, spent_epochs=5, seconds=100), Usage(trials=3, spent_epochs=5), Usage(trials=2, spent_epochs=19),
    ]  # fmt: skip
    assert [reached_limit(scheduler, limit, usage, pace=pace) for usage in used] == [
        None, "time", "time", "trials", "epochs",
    ]  # fmt: skip
    assert reached_limit(scheduler, limit, used[1]) is None  # 19 s may be enough at an unknown pace


def test_probes_leave_the_epochs_of_a_first_trial() -> None:
    assert probe_allowance(BudgetLimits(epochs=100), first_rung_epochs=5) == 10
    assert probe_allowance(BudgetLimits(epochs=100), first_rung_epochs=95) == 5
    assert probe_allowance(BudgetLimits(epochs=10), first_rung_epochs=20) == 0
    assert math.isinf(probe_allowance(BudgetLimits(trials=3), first_rung_epochs=20))
