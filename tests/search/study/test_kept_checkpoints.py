"""Checkpoints that no promotion can reach go, and no other: over random budgets, ladders, spaces and outcomes."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_searches import CONTINUUM, SCHEDULERS, Searched, search

from probe.recipe.schema import SchedulerName
from probe.search.jobs.jobs import Outcome, RungJob
from probe.search.records.objective import Objective
from probe.search.records.search import BudgetLimits, Dimension
from probe.search.schedulers.asha import make_rungs
from probe.search.space.space import Space
from probe.search.study.events import TrialEnded
from probe.search.study.kept_checkpoints import expendable
from probe.search.study.plan import StudyPlan, new_state

FINITE = Dimension(name="quality", kind="int", low=0, high=25)


@st.composite
def searches(draw: st.DrawFn) -> dict[str, Any]:
    factor = draw(st.integers(2, 4))
    lowest = draw(st.integers(1, 3))
    trials, epochs = draw(st.none() | st.integers(3, 50)), draw(st.none() | st.integers(10, 150))
    return {
        "limits": BudgetLimits(trials=trials if epochs is not None else trials or 30, epochs=epochs),
        "scheduler": draw(st.sampled_from(SCHEDULERS)),
        "rungs": make_rungs(lowest, lowest * factor ** draw(st.integers(1, 3)), factor),
        "factor": factor,
        "num_slots": draw(st.integers(1, 4)),
        "seed": draw(st.integers(0, 10_000)),
        "dimension": draw(st.sampled_from([CONTINUUM, CONTINUUM, FINITE])),
        "patience": draw(st.sampled_from([None, None, 2])),
    }


DEATHS: list[Outcome | None] = ["diverged", "infeasible", "crashed", None, None, None]


@settings(deadline=None, max_examples=150)
@given(searches(), st.booleans())
def test_no_promotion_asks_for_a_checkpoint_that_was_discarded(options: dict[str, Any], trials_die: bool) -> None:
    def fault(job: RungJob, epoch: int) -> Outcome | None:
        if not trials_die or job.epochs_from or epoch < job.epochs_to:
            return None
        return random.Random(job.number * 7 + options["seed"]).choice(DEATHS)

    found = search(**options, fault=fault)
    assert found.missed == []
    best = found.state.best
    if best is not None:  # the incumbent's stays as long as it is one
        held = (best.number, options["rungs"][found.state.trials[best.number].rung])
        assert held not in found.discarded or found.state.trials[best.number].status is not None


@settings(deadline=None, max_examples=60)
@given(searches())
def test_only_deaths_of_promoted_trials_let_others_climb_that_were_out_of_reach(options: dict[str, Any]) -> None:
    def fault(job: RungJob, epoch: int) -> Outcome | None:
        die = job.epochs_from and epoch == job.epochs_to
        return random.Random(job.number * 7 + options["seed"]).choice(DEATHS) if die else None

    found = search(**options, fault=fault)
    deaths = [
        index
        for index, event in enumerate(found.events)
        if isinstance(event, TrialEnded) and event.report.outcome in ("diverged", "infeasible")
    ]
    for missed in found.missed:
        assert any(index >= found.discarded[missed] for index in deaths)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(
    "limits", [BudgetLimits(trials=60), BudgetLimits(epochs=300), BudgetLimits(time_seconds=300.0)]
)
def test_far_fewer_checkpoints_than_trials_are_there_at_a_time(scheduler: SchedulerName, limits: BudgetLimits) -> None:
    found = search(limits=limits, scheduler=scheduler)
    assert len(found.state.trials) > 30
    assert found.peak <= 0.6 * len(found.state.trials)


def test_what_is_discarded_changes_no_decision() -> None:
    limits = BudgetLimits(epochs=100)
    found = search(limits=limits, num_slots=2)
    assert len(found.discarded) > 10
    again = Searched(
        new_state(
            StudyPlan(
                space=Space(dimensions=(CONTINUUM,), constants={}),
                objective=Objective(metric="accuracy", mode="max"),
                rungs=(1, 3, 9),
                factor=3,
                limits=limits,
                seed=0,
            )
        )
    )
    for event in found.events:
        again.state.apply(event)
    assert again.state.spent_epochs == found.state.spent_epochs
    assert [trial.rung for trial in again.state.trials] == [trial.rung for trial in found.state.trials]


def test_where_the_disk_is_short_the_worst_of_the_lowest_rung_go_first_and_the_incumbent_stays() -> None:
    state = search(limits=BudgetLimits(trials=30)).state
    order = expendable(state)
    assert [epochs for _, epochs in order] == sorted(epochs for _, epochs in order)
    scores = [state.score(trial, trial.rung) or 0.0 for trial, epochs in order if epochs == 1]
    assert len(scores) > 10
    assert scores == sorted(scores)
    assert state.best is not None
    assert state.best.number not in {trial.number for trial, _ in order}
