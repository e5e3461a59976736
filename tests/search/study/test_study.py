from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_studies import ACCURACY, QUALITY, Ran, fail_on
from scripted_executor import ScriptedExecutor, no_fault

from probe.recipe.schema import SchedulerName
from probe.search.jobs.jobs import Outcome, RungJob
from probe.search.plans import end_warnings
from probe.search.records.search import BudgetLimits, Dimension, SearchProgress, TrialResult
from probe.search.space.space import Space, configuration_key
from probe.search.study.plan import new_state
from probe.search.study.snapshots import SHOW_SECONDS, best_trial, trial_result
from probe.search.study.state import SearchState

TWO_NUMBERS = Space(
    dimensions=(*QUALITY.dimensions, Dimension(name="width", kind="float", low=0.0, high=1.0)), constants={}
)


def test_the_best_is_found_and_trained_all_the_way() -> None:
    ran = Ran(limits=BudgetLimits(trials=20))
    assert ran.end == "trials"
    best = best_trial(ACCURACY, ran.results)
    assert best is not None
    assert ran.results[best.number].status == "complete"
    assert best.params["quality"] == max(float(result.params["quality"]) for result in ran.results)
    assert all(result.params["lr"] == 0.1 for result in ran.results)


def test_trials_go_on_from_where_they_were_and_never_repeat_an_epoch() -> None:
    ran = Ran(limits=BudgetLimits(epochs=60), executor=ScriptedExecutor(num_slots=3))
    for result in ran.results:
        assert [report.epoch for report in result.reports] == list(range(1, len(result.reports) + 1))
        assert len(result.reports) == result.epochs == (result.rungs[-1] if result.rungs else 0)
    assert Counter(len(result.rungs) for result in ran.results)[3] >= 2
    # Every checkpoint that was promoted from is discarded once the next rung is done, and none is discarded twice.
    promoted = {(job.number, job.epochs_from) for job in ran.executor.jobs if job.epochs_from}
    assert promoted <= set(ran.discarded)
    assert len(set(ran.discarded)) == len(ran.discarded)


@settings(deadline=None, max_examples=60)
@given(
    trials=st.none() | st.integers(1, 30),
    epochs=st.none() | st.floats(0.5, 100),
    seconds=st.none() | st.floats(0.5, 60),
    num_slots=st.integers(1, 4),
    probe_epochs=st.floats(0, 5),
    seed=st.integers(0, 1000),
    faults=st.dictionaries(st.integers(0, 10), st.sampled_from(["oom", "diverged", "crashed"]), max_size=4),
)
def test_no_budget_is_ever_exceeded(
    trials: int | None,
    epochs: float | None,
    seconds: float | None,
    num_slots: int,
    probe_epochs: float,
    seed: int,
    faults: dict[int, Outcome],
) -> None:
    limits = BudgetLimits(
        trials=trials if (epochs, seconds) != (None, None) else trials or 12, epochs=epochs, time_seconds=seconds
    )
    executor = ScriptedExecutor(
        num_slots=num_slots, fault=lambda job, epoch, _: faults.get(job.number) if epoch == job.epochs_to else None
    )
    ran = Ran(limits=limits, executor=executor, probe_epochs=probe_epochs, seed=seed)
    assert ran.end in ("trials", "epochs", "time")
    assert limits.trials is None or len(ran.results) <= limits.trials
    assert limits.epochs is None or ran.num_epochs + probe_epochs <= max(limits.epochs, probe_epochs) + 1e-9
    assert limits.time_seconds is None or ran.seconds <= limits.time_seconds + 1e-9
    assert ran.num_epochs == ran.state.spent_epochs
    assert ran.state.promised_epochs == 0
    assert not ran.state.running


@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [
        ("random", "asha"),
        ("tpe", "asha"),
        ("tpe", "hyperband"),
        ("gp", "halving"),
        ("cma-es", "halving"),
        ("evolutionary", "hyperband"),
        ("qmc", "none"),
        ("grid", "asha"),
    ],
)
def test_one_slot_and_one_seed_make_the_same_search_twice(sampler: str, scheduler: SchedulerName) -> None:
    plan: dict[str, Any] = {"sampler": sampler, "scheduler": scheduler, "space": TWO_NUMBERS}
    plan["rungs"] = (9,) if scheduler == "none" else (1, 3, 9)
    first, second = (Ran(limits=BudgetLimits(epochs=30), seed=4, **plan) for _ in range(2))
    assert first.results == second.results
    other = Ran(limits=BudgetLimits(epochs=30), seed=5, **plan)
    assert other.results[0].params != first.results[0].params


def test_a_grid_is_searched_once_and_the_start_points_first() -> None:
    ran = Ran(
        limits=BudgetLimits(trials=100),
        executor=ScriptedExecutor(num_slots=3, fault=fail_on(t4="oom", t6="crashed")),
        space=TWO_NUMBERS,
        sampler="grid",
        starts=({"quality": 0.5, "width": 0.0}, {"quality": 0.123}),
    )
    assert ran.end == "space"
    tried = [(result.params["quality"], result.params["width"]) for result in ran.results]
    assert tried[0] == (0.5, 0.0)
    assert tried[1][0] == 0.123
    assert sorted(tried[:1] + tried[2:]) == [(i / 4, j / 4) for i in range(5) for j in range(5)]


def test_the_events_alone_give_the_state_again() -> None:
    fault = fail_on(t1="oom", t2="crashed", t4="diverged")
    ran = Ran(limits=BudgetLimits(epochs=70), executor=ScriptedExecutor(num_slots=2, fault=fault))
    again: SearchState = new_state(ran.plan)
    for event in ran.events:
        again.apply(event)
    assert [trial_result(again, trial) for trial in again.trials] == ran.results
    assert (again.spent_epochs, again.promised_epochs) == (ran.state.spent_epochs, 0)
    assert again.scheduler.next_promotion(rule="open") == ran.state.scheduler.next_promotion(rule="open")


def test_out_of_memory_and_divergence_are_values_and_go_no_further() -> None:
    ran = Ran(limits=BudgetLimits(trials=6), executor=ScriptedExecutor(fault=fail_on(t0="oom", t1="diverged")))
    assert [result.status for result in ran.results[:2]] == ["oom", "diverged"]
    assert [result.value for result in ran.results[:2]] == [None, None]
    assert sum(job.number in (0, 1) for job in ran.executor.jobs) == 2
    assert "complete" in {result.status for result in ran.results}


def test_a_rung_whose_worker_died_is_run_again_from_its_start() -> None:
    def die_twice(job: RungJob, epoch: int, num_submitted: int) -> Outcome | None:
        return "crashed" if job.number == 0 and epoch == 3 and num_submitted <= 3 else None

    ran = Ran(limits=BudgetLimits(trials=1), executor=ScriptedExecutor(fault=die_twice))
    assert [(job.epochs_from, job.epochs_to) for job in ran.executor.jobs] == [(0, 1), (1, 3), (1, 3), (1, 3), (3, 9)]
    (result,) = ran.results
    assert result.status == "complete"
    assert [report.epoch for report in result.reports] == list(range(1, 10))
    assert result.epochs == 9 + 2 * 2  # twice epoch 2, and the one that it died in


def test_a_trial_that_kills_every_worker_is_given_up() -> None:
    ran = Ran(limits=BudgetLimits(trials=3), executor=ScriptedExecutor(fault=fail_on(t0="crashed")))
    assert ran.results[0].status == "crashed"
    assert sum(job.number == 0 for job in ran.executor.jobs) == 4
    assert {result.status for result in ran.results[1:]} <= {"complete", "stopped"}


def test_a_trial_that_fails_once_is_run_again_from_its_rung_in_a_fresh_process() -> None:
    def fail_once(job: RungJob, epoch: int, num_submitted: int) -> Outcome | None:
        return "failed" if epoch == 3 and not job.needs_fresh_process else None

    ran = Ran(limits=BudgetLimits(trials=1), executor=ScriptedExecutor(fault=fail_once))
    assert [(job.epochs_from, job.epochs_to, job.needs_fresh_process) for job in ran.executor.jobs] == [
        (0, 1, False),
        (1, 3, False),
        (1, 3, True),
        (3, 9, False),
    ]
    (result,) = ran.results
    assert (result.status, result.message) == ("complete", None)
    assert [report.epoch for report in result.reports] == list(range(1, 10))
    assert [type(record) for record in ran.seen].count(TrialResult) == 3  # nobody is told of the failure
    assert ran.state.num_failed_in_a_row == 0
    [warning] = end_warnings("random", ran.state.trials)
    assert "trial 0" in warning


def test_a_failure_that_repeats_is_the_trials_own_and_counts_once() -> None:
    ran = Ran(limits=BudgetLimits(trials=4), executor=ScriptedExecutor(fault=fail_on(t1="failed")))
    assert [job.needs_fresh_process for job in ran.executor.jobs if job.number == 1] == [False, True]
    assert ran.results[1].status == "failed"
    assert ran.results[1].message == "Traceback: ZeroDivisionError"
    assert ran.state.num_failed_in_a_row == 0  # the next trial ran
    assert end_warnings("random", ran.state.trials) == []


def test_failures_end_the_search_only_while_nothing_has_succeeded() -> None:
    faults = fail_on(t2="failed", t3="failed", t4="failed", t5="failed")
    told: list[tuple[int, str, float | None]] = []
    after = Ran(
        limits=BudgetLimits(trials=9), executor=ScriptedExecutor(fault=faults), listen=lambda *news: told.append(news)
    )
    assert (after.end, len(after.results)) == ("trials", 9)
    assert [result.status for result in after.results[2:6]] == ["failed"] * 4
    assert after.results[2].message == "Traceback: ZeroDivisionError"
    assert [number for number, verdict, _ in told if verdict == "infeasible"] == [2, 3, 4, 5]


def test_after_three_failures_and_no_success_the_middle_of_the_space_decides() -> None:
    executor = ScriptedExecutor(fault=lambda job, epoch, _: "failed")
    never = Ran(limits=BudgetLimits(trials=40), executor=executor)
    assert (never.end, len(never.results)) == ("failures", 4)
    assert never.results[3].params["quality"] == 0.5

    def far_from_the_middle(job: RungJob, epoch: int, num_submitted: int) -> Outcome | None:
        return "failed" if abs(float(job.params["quality"]) - 0.5) > 0.1 else None

    some = Ran(limits=BudgetLimits(trials=40), executor=ScriptedExecutor(fault=far_from_the_middle), seed=1)
    assert [result.status for result in some.results[:3]] == ["failed"] * 3
    assert (some.end, len(some.results)) == ("trials", 40)
    assert some.results[3].value is not None


def test_a_worker_that_dies_with_the_middle_of_the_space_does_not_decide_about_the_task() -> None:
    def fault(job: RungJob, epoch: int, num_submitted: int) -> Outcome | None:
        return "failed" if job.number < 3 else "crashed" if (job.number, num_submitted) == (3, 1) else None

    ran = Ran(limits=BudgetLimits(trials=6), executor=ScriptedExecutor(fault=fault))
    assert (ran.end, len(ran.results)) == ("trials", 6)
    assert ran.results[3].params["quality"] == 0.5
    assert ran.results[3].value is not None


@pytest.mark.parametrize("num_slots", [2, 4])
def test_a_task_that_always_fails_ends_the_search_with_any_number_of_workers(num_slots: int) -> None:
    executor = ScriptedExecutor(num_slots=num_slots, fault=lambda job, epoch, _: "failed")
    ran = Ran(limits=BudgetLimits(trials=100), executor=executor)
    assert ran.end == "failures"
    assert len(ran.results) <= 3 * num_slots + 1


def test_ctrl_c_keeps_what_was_reported() -> None:
    executor = ScriptedExecutor(num_slots=2, interrupt_at=7.5)
    ran = Ran(limits=BudgetLimits(epochs=100), executor=executor, rungs=(5, 9))
    assert ran.end == "interrupted"
    assert ran.num_epochs == 14
    assert not ran.state.running
    assert [len(result.reports) for result in ran.results] == [5, 5, 2, 2]
    assert {result.status for result in ran.results} == {"stopped"}


def test_a_trial_that_was_interrupted_in_its_first_epoch_has_no_value() -> None:
    ran = Ran(limits=BudgetLimits(epochs=100), executor=ScriptedExecutor(interrupt_at=0.5))
    assert [(result.status, result.value, result.epochs) for result in ran.results] == [("timeout", None, 0)]


def test_time_ends_the_search_on_time() -> None:
    ran = Ran(limits=BudgetLimits(time_seconds=20.0), executor=ScriptedExecutor(num_slots=2), probe_seconds=5.0)
    assert ran.end == "time"
    assert ran.seconds <= 20.0
    assert 24 <= ran.num_epochs <= 30
    slow = Ran(limits=BudgetLimits(time_seconds=20.0), executor=ScriptedExecutor(epoch_seconds=lambda job: 50.0))
    assert (slow.end, slow.seconds, slow.results[0].status) == ("time", 20.0, "timeout")


def test_start_points_come_first() -> None:
    starts: tuple[dict[str, float], ...] = ({"quality": 0.25}, {})
    ran = Ran(limits=BudgetLimits(trials=3), starts=starts)
    assert ran.results[0].params["quality"] == 0.25
    assert len({float(result.params["quality"]) for result in ran.results}) == 3


def test_a_start_outside_of_a_small_space_takes_no_configuration_from_it() -> None:
    space = Space(dimensions=(Dimension(name="width", kind="choices", choices=(4, 8)),), constants={"lr": 0.1})
    ran = Ran(limits=BudgetLimits(trials=9), space=space, starts=({"lr": 0.5, "width": 4},))
    tried = {(result.params["lr"], result.params["width"]) for result in ran.results}
    assert tried == {(0.5, 4), (0.1, 4), (0.1, 8)}


def test_a_small_space_is_tried_completely_and_nothing_twice() -> None:
    choices = tuple(0.1 * k for k in range(1, 7))
    space = Space(dimensions=(Dimension(name="quality", kind="choices", choices=choices),), constants={})
    for sampler in ("random", "tpe"):
        ran = Ran(limits=BudgetLimits(trials=50), space=space, sampler=sampler)
        assert ran.end == "space"
        assert len({configuration_key(result.params) for result in ran.results}) == len(ran.results) == 6
        best = best_trial(ACCURACY, ran.results)
        assert best is not None
        assert best.params["quality"] == choices[-1]


def keys(ran: Ran) -> list[Any]:
    return [configuration_key(result.params) for result in ran.results]


@pytest.mark.parametrize("sampler", ["random", "tpe", "grid"])
def test_what_a_start_point_asks_for_is_trained_as_often_as_it_asks(sampler: str) -> None:
    """Also where it exhausts the space, or comes after what exhausted it, or lies outside of it."""
    only = Dimension(name="quality", kind="choices", choices=(0.5,))
    starts: tuple[dict[str, float], ...] = ({"quality": 0.5}, {"quality": 0.5}, {"quality": 0.5, "lr": 0.2})
    for dimensions in ((only,), ()):
        space = Space(dimensions=dimensions, constants={"lr": 0.1} if dimensions else {"lr": 0.1, "quality": 0.5})
        ran = Ran(limits=BudgetLimits(trials=50), space=space, sampler=sampler, starts=starts)
        assert ran.end == "space"
        assert [(result.params["quality"], result.params["lr"]) for result in ran.results] == [
            (0.5, 0.1),
            (0.5, 0.1),
            (0.5, 0.2),
        ]


def test_what_a_start_point_leaves_open_is_drawn_so_that_nothing_repeats() -> None:
    dimensions = [Dimension(name=name, kind="choices", choices=(0.1, 0.2)) for name in ("quality", "width")]
    space = Space(dimensions=tuple(dimensions), constants={})
    ran = Ran(limits=BudgetLimits(trials=50), space=space, starts=({}, {"width": 0.1}, {"width": 0.1}))
    assert len(set(keys(ran))) == len(ran.results) == 4
    assert [result.params["width"] for result in ran.results[1:3]] == [0.1, 0.1]


def test_our_own_guesses_come_after_the_start_points_and_repeat_none() -> None:
    guesses: tuple[dict[str, float], ...] = ({"quality": 0.5}, {"quality": 0.5}, {"quality": 0.7})
    ran = Ran(limits=BudgetLimits(trials=5), starts=({"quality": 0.5}, {"quality": 0.25}), guesses=guesses)
    assert [result.params["quality"] for result in ran.results[:3]] == [0.5, 0.25, 0.7]
    assert len(set(keys(ran))) == 5


def test_no_start_point_is_left_out_where_the_first_ones_fail() -> None:
    starts = tuple({"quality": number / 10} for number in range(5))
    executor = ScriptedExecutor(fault=lambda job, epoch, _: "failed")
    ran = Ran(limits=BudgetLimits(trials=40), executor=executor, starts=starts)
    assert ran.end == "failures"
    assert [result.params["quality"] for result in ran.results] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_nothing_to_search_is_one_trial() -> None:
    ran = Ran(limits=BudgetLimits(trials=50), space=Space(dimensions=(), constants={"quality": 0.5}))
    assert (ran.end, [result.status for result in ran.results]) == ("space", ["complete"])


def test_observers_see_trials_and_a_budget_that_only_grows() -> None:
    ran = Ran(limits=BudgetLimits(epochs=40), executor=ScriptedExecutor(num_slots=2), probe_epochs=2.0)
    progress = [record for record in ran.seen if isinstance(record, SearchProgress)]
    spent = [record.spent.epochs for record in progress]
    assert spent == sorted(spent)
    assert all(record.spent.probe_epochs == 2.0 and len(record.running) <= 2 for record in progress)
    last = {record.number: record for record in ran.seen if isinstance(record, TrialResult)}
    assert {number: record.value for number, record in last.items()} == {r.number: r.value for r in ran.results}


def test_a_busy_searchs_observers_see_what_runs_a_few_times_a_second_and_every_new_best_at_once() -> None:
    executor = ScriptedExecutor(num_slots=20, epoch_seconds=lambda job: 0.001 * (1 + job.number % 7))
    ran = Ran(limits=BudgetLimits(trials=300), executor=executor)
    progress = [record for record in ran.seen if isinstance(record, SearchProgress)]
    bests = [record.best for record in progress if record.best is not None]
    assert ran.state.best is not None
    assert bests[-1].number == ran.state.best.number
    num_bests = len({(best.number, best.value) for best in bests})
    assert len(progress) <= num_bests + ran.seconds / SHOW_SECONDS + 1
    assert len(progress) < len(ran.events) / 10


def test_a_promising_trial_that_diverges_later_is_no_winner() -> None:
    def late(job: RungJob, epoch: int, num_submitted: int) -> Outcome | None:
        return "diverged" if job.number == 0 and epoch == 2 else no_fault(job, epoch, num_submitted)

    space = QUALITY
    ran = Ran(
        limits=BudgetLimits(trials=6), starts=({"quality": 1.0},), executor=ScriptedExecutor(fault=late), space=space
    )
    assert ran.results[0].status == "diverged"
    best = best_trial(ACCURACY, ran.results)
    assert best is not None
    assert best.number != 0
    assert ran.results[best.number].status == "complete"


def test_a_state_refuses_what_cannot_happen() -> None:
    ran = Ran(limits=BudgetLimits(trials=2))
    for event in ran.events[:2]:  # asked and started a second time
        with pytest.raises(ValueError, match="trial 0"):
            ran.state.apply(event)


def test_lengths_of_training_are_searched_where_no_scheduler_decides_them() -> None:
    lengths = Dimension(name="epochs", kind="choices", choices=(5, 2, 9))
    space = Space(dimensions=(*QUALITY.dimensions, lengths), constants={})
    ran = Ran(limits=BudgetLimits(trials=12), space=space, rungs=(9,), scheduler="none")
    assert ran.end == "trials"
    results = [trial_result(ran.state, trial) for trial in ran.state.trials]
    assert {result.params["epochs"] for result in results} == {2, 5, 9}
    for result in results:
        assert result.status == "complete"
        assert result.epochs == len(result.reports) == result.params["epochs"]
        assert result.rungs == (result.params["epochs"],)
    assert [job.epochs_to for job in ran.executor.jobs] == [result.epochs for result in results]
    assert ran.state.spent_epochs == sum(result.epochs for result in results)
    assert ran.state.promised_epochs == 0


def test_a_budget_is_kept_whatever_the_trials_own_lengths() -> None:
    lengths = Dimension(name="epochs", kind="choices", choices=(2, 9))
    space = Space(dimensions=(*QUALITY.dimensions, lengths), constants={})
    executor = ScriptedExecutor(num_slots=3)
    ran = Ran(limits=BudgetLimits(epochs=40), space=space, rungs=(9,), scheduler="none", executor=executor)
    assert ran.end == "epochs"
    assert 40 - 9 < ran.state.spent_epochs <= 40
