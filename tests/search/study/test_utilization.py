from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_executor import ScriptedExecutor, make_job
from stored_searches import PLAN as LONG_PLAN

from probe.search.jobs.jobs import Outcome, RungJob, RungReport
from probe.search.records.search import BudgetLimits, SearchProgress
from probe.search.samplers.registry import make_sampler
from probe.search.storage.connection import IN_MEMORY
from probe.search.storage.database import SearchDatabase
from probe.search.study.events import EpochReported, Event, SearchResumed, TrialEnded, TrialStarted, TrialSuggested
from probe.search.study.plan import StudyHooks, new_state
from probe.search.study.study import Study
from probe.search.study.utilization import Utilization, utilization
from probe.training.records import EpochReport


def ended(number: int, seconds: float, outcome: Outcome = "finished") -> TrialEnded:
    return TrialEnded(number=number, report=RungReport(outcome=outcome, seconds=seconds))


def reported(number: int, seconds: float) -> EpochReported:
    report = EpochReport(epoch=1, train_loss=1.0, val_loss=None, metrics={}, seconds=seconds)
    return EpochReported(number=number, report=report)


def made(*events: tuple[float | None, Event]) -> Utilization:
    sums = Utilization()
    for seconds, event in events:
        sums.apply(event, seconds)
    return sums


PLAN = replace(LONG_PLAN, rungs=(1, 3), limits=BudgetLimits(trials=6))
ASKED = TrialSuggested(number=0, positions={}, params={}, seed=0)


@given(
    busy=st.floats(0, 1e9),
    num_slots=st.integers(0, 10_000),
    seconds=st.floats(-1, 1e9),
)
def test_utilization_is_a_fraction_or_none(busy: float, num_slots: int, seconds: float) -> None:
    found = utilization(busy, num_slots=num_slots, seconds=seconds)
    if num_slots == 0 or seconds <= 0:
        assert found is None
    else:
        assert found is not None
        assert 0 <= found <= 1
        assert (found == 1) == (busy >= num_slots * seconds) or found == pytest.approx(1, abs=1e-9)


def test_slots_without_work_are_idle_and_so_is_the_wait_for_the_driver() -> None:
    assert utilization(30.0, num_slots=4, seconds=10.0) == 0.75
    one = made((5.0, ASKED), (5.0, TrialStarted(number=0, rung=0)), (15.0, ended(0, 9.0)))
    assert one.after(10.0, num_slots=1).utilization == pytest.approx(0.9)
    assert one.after(10.0, num_slots=2).utilization == pytest.approx(0.45)
    assert one.now(25.0, num_slots=1).utilization == pytest.approx(0.45)


def test_nothing_is_known_before_anything_has_run() -> None:
    assert Utilization().now(5.0, num_slots=1).utilization is None
    assert made((5.0, ASKED)).now(5.0, num_slots=1).utilization is None
    assert Utilization().after(0.0, num_slots=1).utilization is None


def test_a_job_that_runs_is_work_from_its_start_on() -> None:
    running = made(
        (0.0, TrialStarted(number=0, rung=0)), (4.0, TrialStarted(number=1, rung=0)), (6.0, reported(0, 6.0))
    )
    assert running.now(8.0, num_slots=2).utilization == pytest.approx((8 + 4) / 16)
    # Killed there, its epochs are all that is known.
    assert running.after(6.0, num_slots=2).utilization == pytest.approx(6 / 12)


@pytest.mark.parametrize("stop", [SearchResumed(), ended(0, 0.0, "cancelled")])
def test_what_was_trained_before_a_stop_was_work(stop: Event) -> None:
    sums = made(
        (None, TrialStarted(number=0, rung=0)), (None, reported(0, 3.0)), (None, reported(0, 3.0)), (None, stop)
    )
    assert sums.after(8.0, num_slots=1).utilization == pytest.approx(0.75)
    sums.earlier_seconds = 8.0
    # The pause is none of the search's time, and neither is what comes before the first event of a session.
    sums.apply(SearchResumed(after="interrupted"), 100.0)
    sums.apply(TrialStarted(number=0, rung=0), 100.0)
    sums.apply(ended(0, 2.0), 102.0)
    assert sums.now(102.0, num_slots=1).utilization == pytest.approx(0.8)


def test_only_rungs_that_are_run_again_after_a_crash_are_retries() -> None:
    sums = made((None, TrialStarted(number=0, rung=0)), (None, ended(0, 1.0, "crashed")))
    assert sums.num_retries == 0  # not yet
    for event in (
        SearchResumed(),
        TrialStarted(number=0, rung=0),
        ended(0, 1.0, "oom"),
        TrialStarted(number=0, rung=0),
    ):
        sums.apply(event)
    assert sums.num_retries == 1
    sums.apply(SearchResumed())
    sums.apply(TrialStarted(number=0, rung=0))
    assert sums.num_retries == 1


def test_ctrl_c_may_come_before_a_start_was_noted() -> None:
    sums = made((0.0, TrialStarted(number=0, rung=0)), (4.0, ended(0, 4.0)), (None, ended(1, 0.0, "cancelled")))
    assert sums.after(4.0, num_slots=1).utilization == 1


def crash_once(number: int) -> Callable[[RungJob, int, int], Outcome | None]:
    return lambda job, epoch, num_submitted: "crashed" if job.number == number and num_submitted == 1 else None


def study_on(
    executor: ScriptedExecutor,
    database: SearchDatabase,
    seen: list[SearchProgress],
    seconds_before: float = 0.0,
    can_start: Callable[..., bool] | None = None,
) -> Study:
    def see(record: object) -> None:
        if isinstance(record, SearchProgress):
            seen.append(record)

    study = Study(
        PLAN,
        new_state(PLAN),
        sampler=make_sampler("random", PLAN.space, mode="max", seed=7),
        executor=executor,
        make_job=make_job,
        hooks=StudyHooks(
            sink=lambda event: database.append(event, seconds_before + study.seconds),
            observer=see,
            can_start=can_start,
            clock=executor.clock,
        ),
    )
    study.replay(database.events())
    study.state.utilization.earlier_seconds = database.event_seconds
    return study


@settings(deadline=None, max_examples=15)
@given(
    interrupts=st.lists(st.integers(1, 12).map(lambda halves: halves / 2), max_size=3),
    num_slots=st.integers(1, 4),
    crashes=st.integers(0, 3),
)
def test_a_search_and_its_file_tell_the_same_over_all_sessions(
    interrupts: list[float], num_slots: int, crashes: int
) -> None:
    seen: list[SearchProgress] = []
    seconds_before = 0.0
    with SearchDatabase.create(IN_MEMORY, {"name": "made"}) as database:
        for interrupt_at in (*interrupts, None):
            executor = ScriptedExecutor(num_slots=num_slots, fault=crash_once(crashes), interrupt_at=interrupt_at)
            study = study_on(executor, database, seen, seconds_before)
            if study.state.trials:
                study.resume("interrupted")
            study.run()
            seconds_before += study.seconds + 1000  # a pause
        told = study.state.utilization.after(database.event_seconds, num_slots=num_slots)
        from_file = new_state(PLAN)
        for event in database.events():
            from_file.apply(event)
        stored = from_file.utilization.after(database.event_seconds, num_slots=num_slots)
    assert stored == told
    assert told.num_retries >= (not interrupts)
    assert all(progress.slots is not None for progress in seen)
    if not interrupts:
        shown = study.state.utilization.now(study.seconds, num_slots=num_slots)
        assert shown.utilization == pytest.approx(told.utilization)
        assert replace(shown, utilization=None) == replace(told, utilization=None)
        assert num_slots > 1 or told.utilization == pytest.approx(1)


def test_two_slots_of_which_one_waits_are_half_idle_in_the_live_view() -> None:
    seen: list[SearchProgress] = []
    executor = ScriptedExecutor(num_slots=2)
    with SearchDatabase.create(IN_MEMORY, {"name": "made"}) as database:
        study_on(executor, database, seen, can_start=lambda trial, running: not running).run()
    assert seen[-1].slots is not None
    assert (seen[-1].slots.num_slots, seen[-1].slots.num_nodes, seen[-1].slots.num_retries) == (2, None, 0)
    assert seen[-1].slots.utilization == pytest.approx(0.5)
