from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_studies import Ran, fail_on
from scripted_executor import ScriptedExecutor

from probe.recipe.schema import SchedulerName
from probe.search.records.search import BudgetLimits
from probe.search.schedulers.hyperband import Bracket, Hyperband, brackets_of, deal
from probe.search.schedulers.protocol import Promotion
from probe.search.schedulers.registry import SCHEDULERS, make_scheduler
from probe.search.schedulers.successive_halving import SuccessiveHalving

quick = settings(deadline=None, max_examples=60)
names = st.sampled_from(tuple(SCHEDULERS))


def test_hyperbands_brackets_are_the_published_ones() -> None:
    """Table 1 of Li et al. 2018: R = 81 epochs, factor 3."""
    assert [bracket.num_trials for bracket in brackets_of(4, 3)] == [81, 34, 15, 8, 5]
    assert [bracket.first_decision_rung for bracket in brackets_of(4, 3)] == [0, 1, 2, 3, 4]
    assert brackets_of(0, 3) == (Bracket(first_decision_rung=0, num_trials=1),)


@quick
@given(st.integers(0, 5), st.integers(2, 5))
def test_every_bracket_gets_its_share_and_early(top: int, factor: int) -> None:
    brackets = brackets_of(top, factor)
    dealt = deal(brackets)
    assert Counter(dealt) == {bracket.first_decision_rung: bracket.num_trials for bracket in brackets}
    for (
        bracket
    ) in brackets:  # never a whole trial behind its share, so that a search that ends early has had some of each
        num_dealt = 0
        for seen, first_decision_rung in enumerate(dealt, start=1):
            num_dealt += first_decision_rung == bracket.first_decision_rung
            assert num_dealt >= bracket.num_trials * seen // len(dealt)


def test_a_patient_bracket_judges_nobody_below_its_rung() -> None:
    scheduler = Hyperband((1, 3, 9), factor=3, mode="max")
    by_bracket = {scheduler.group_of(number): number for number in reversed(range(17))}
    assert set(by_bracket) == {0, 1, 2}
    for number in by_bracket.values():
        scheduler.enter(number)
        scheduler.record(number, 0, 0.1 * number)
    first = scheduler.next_promotion()
    assert first == Promotion(number=by_bracket[1], rung=1)
    scheduler.promote(first)
    scheduler.record(by_bracket[1], 1, 0.5)
    assert scheduler.next_promotion() == Promotion(number=by_bracket[2], rung=1)  # the one of bracket 1 is judged now
    scheduler.promote(Promotion(number=by_bracket[2], rung=1))
    scheduler.record(by_bracket[2], 1, 0.0)
    assert scheduler.next_promotion() == Promotion(number=by_bracket[2], rung=2)
    scheduler.promote(Promotion(number=by_bracket[2], rung=2))
    assert scheduler.next_promotion() is None
    assert (scheduler.num_ranked(0), scheduler.num_promoted(0), scheduler.num_promoted(1)) == (3, 2, 1)


def test_a_rung_is_decided_when_the_whole_cohort_is_there() -> None:
    scheduler = SuccessiveHalving((1, 2, 4), factor=2, mode="max")
    assert scheduler.cohort_size == 4
    for number in range(6):
        scheduler.enter(number)
    for number in (0, 1, 3, 4, 5):
        scheduler.record(number, 0, float(number))
    assert scheduler.next_promotion() is None  # trial 2 is still running, and the second cohort is half empty
    assert scheduler.next_promotion(rule="closing") == Promotion(number=5, rung=1)  # nobody else comes to the second
    scheduler.record(2, 0, 2.0)
    for number in (3, 2):
        promotion = scheduler.next_promotion()
        assert promotion == Promotion(number=number, rung=1)
        scheduler.promote(promotion)
    assert scheduler.next_promotion() is None
    scheduler.record(3, 1, 0.0)
    assert scheduler.next_promotion() is None
    scheduler.record(2, 1, 1.0)
    assert scheduler.next_promotion() == Promotion(number=2, rung=2)


def test_the_dead_do_not_hold_a_cohort_up() -> None:
    scheduler = SuccessiveHalving((1, 2, 4), factor=2, mode="max")
    for number in range(4):
        scheduler.enter(number)
    scheduler.fail(0, 0)
    scheduler.drop(1, 0)
    scheduler.record(2, 0, 0.5)
    assert scheduler.next_promotion() is None
    scheduler.drop(3, 0)
    only = Promotion(number=2, rung=1)
    assert scheduler.next_promotion() == only
    scheduler.promote(only)
    scheduler.drop(2, 1)
    assert scheduler.next_promotion() is None
    assert scheduler.next_promotion(rule="open") is None


@pytest.mark.parametrize("num_slots", [1, 2])
def test_a_cohort_of_halving_costs_what_the_paper_says(num_slots: int) -> None:
    """Nine trials of one epoch, three of them of three, one of nine: 9 + 3 x 2 + 6 epochs."""
    ran = Ran(limits=BudgetLimits(trials=9), executor=ScriptedExecutor(num_slots=num_slots), scheduler="halving")
    assert Counter(len(result.rungs) for result in ran.results) == {1: 6, 2: 2, 3: 1}
    assert ran.num_epochs == 21
    best_first = sorted(ran.results, key=lambda result: -float(result.params["quality"]))
    assert [len(result.rungs) for result in best_first[:3]] == [3, 2, 2]


def test_hyperband_trains_some_of_its_trials_to_the_end_unjudged() -> None:
    ran = Ran(limits=BudgetLimits(trials=17), scheduler="hyperband")
    scheduler = ran.state.scheduler
    assert isinstance(scheduler, Hyperband)
    patient = [result for result in ran.results if scheduler.group_of(result.number) == 2]
    assert len(patient) == 3
    assert all(result.status == "complete" for result in patient)
    assert Counter(result.status for result in ran.results)["stopped"] >= 8


@quick
@given(
    names,
    st.integers(1, 60),
    st.integers(1, 3),
    st.integers(0, 100),
    st.dictionaries(st.integers(0, 20), st.sampled_from(["oom", "diverged", "crashed"]), max_size=5),
)
def test_every_scheduler_ends_within_its_budget_and_by_it(
    name: SchedulerName, epochs: int, num_slots: int, seed: int, faults: dict[int, str]
) -> None:
    fault = fail_on(**{f"t{number}": outcome for number, outcome in faults.items()})  # type: ignore[arg-type]
    executor = ScriptedExecutor(num_slots=num_slots, fault=fault)
    ran = Ran(
        limits=BudgetLimits(epochs=epochs),
        executor=executor,
        rungs=(3,) if name == "none" else (1, 2, 4),
        seed=seed,
        scheduler=name,
    )
    assert ran.end == "epochs"
    assert ran.num_epochs <= epochs
    assert ran.num_epochs > epochs - 3  # what is left is less than a first rung, or a crashed trial's to try again
    again = make_scheduler(name, ran.plan.rungs, factor=3, mode="max")
    assert type(again) is type(ran.state.scheduler)


@pytest.mark.parametrize("name", tuple(SCHEDULERS))
def test_with_one_rung_every_scheduler_is_alike(name: SchedulerName) -> None:
    scheduler = make_scheduler(name, (5,), factor=3, mode="min")
    for number in range(4):
        scheduler.enter(number)
        scheduler.record(number, 0, float(number))
    assert scheduler.next_promotion() is None
    assert scheduler.next_promotion(rule="open") is None
    assert sorted(scheduler.paused()) == [(number, 0) for number in range(4)]
