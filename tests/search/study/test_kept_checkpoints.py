"""Checkpoints that no promotion can reach go, and no other: over random budgets, ladders, spaces and outcomes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_executor import ScriptedExecutor, make_job

from probe.search.jobs.jobs import Outcome, RungJob
from probe.search.records.objective import Objective
from probe.search.records.search import BudgetLimits, Dimension
from probe.search.samplers.registry import make_sampler
from probe.search.schedulers.brackets import SchedulerName
from probe.search.schedulers.successive_halving import make_rungs
from probe.search.space.space import Space
from probe.search.study.events import Event, TrialEnded
from probe.search.study.kept_checkpoints import expendable
from probe.search.study.plan import StudyHooks, StudyPlan, new_state
from probe.search.study.state import SearchState, Trial
from probe.search.study.study import Study

LADDERS: list[SchedulerName] = ["asha", "halving", "hyperband"]
CONTINUUM = Dimension(name="quality", kind="float", low=0.0, high=1.0)
FINITE = Dimension(name="quality", kind="int", low=0, high=25)


@dataclass
class Searched:
    """One search, and what became of its checkpoints."""

    state: SearchState
    discarded: dict[tuple[int, int], int] = field(default_factory=dict)
    """(trial, epochs) -> events until then."""
    missed: list[tuple[int, int]] = field(default_factory=list)
    """Those that a job asked for after they were discarded."""
    written: set[tuple[int, int]] = field(default_factory=set)
    peak: int = 0
    """Most checkpoints at a time."""
    events: list[Event] = field(default_factory=list)


def search(
    *,
    limits: BudgetLimits,
    scheduler: SchedulerName = "asha",
    rungs: tuple[int, ...] = (1, 3, 9),
    factor: int = 3,
    num_slots: int = 1,
    seed: int = 0,
    dimension: Dimension = CONTINUUM,
    patience: int | None = None,
    fault: Callable[[RungJob, int], Outcome | None] = lambda job, epoch: None,
    **changes: Any,
) -> Searched:
    """Scores are drawn anew on each rung, so that every order of the trials comes up."""

    def draw(*what: object) -> float:
        return random.Random(f"{seed} {what}").random()

    executor = ScriptedExecutor(
        num_slots=num_slots,
        accuracy=lambda params, epoch: draw(params["quality"], epoch),
        epoch_seconds=lambda job: 0.1 + draw(job.number),
        fault=lambda job, epoch, num_submitted: (
            fault(job, epoch) if num_submitted == 1 or not job.epochs_from else None
        ),
        stops_after=lambda job, epoch: patience is not None and draw(job.number, epoch, "stop") < 0.1,
    )
    plan = StudyPlan(
        space=Space(dimensions=(dimension,), constants={}),
        objective=Objective(metric="accuracy", mode="max"),
        rungs=rungs,
        factor=factor,
        limits=limits,
        seed=seed,
        scheduler=scheduler,
        patience=patience,
        **changes,
    )
    found = Searched(new_state(plan))

    def make(trial: Trial, epochs_from: int, epochs_to: int) -> RungJob:
        if (trial.number, epochs_from) in found.discarded:
            found.missed.append((trial.number, epochs_from))
        return make_job(trial, epochs_from, epochs_to)

    def see(event: Event) -> None:
        found.events.append(event)
        if isinstance(event, TrialEnded) and event.report.outcome == "finished":
            rung = found.state.trials[event.number].target_rung
            if rung is not None and rung < len(rungs) - 1:
                found.written.add((event.number, rungs[rung]))
        found.peak = max(found.peak, len(found.written - found.discarded.keys()))

    Study(
        plan,
        found.state,
        sampler=make_sampler("random", plan.space, mode="max", seed=seed),
        executor=executor,
        make_job=make,
        hooks=StudyHooks(
            discard=lambda trial, epochs: found.discarded.setdefault((trial.number, epochs), len(found.events)),
            sink=see,
            clock=executor.clock,
        ),
    ).run()
    return found


@st.composite
def searches(draw: st.DrawFn) -> dict[str, Any]:
    factor = draw(st.integers(2, 4))
    lowest = draw(st.integers(1, 3))
    trials, epochs = draw(st.none() | st.integers(3, 50)), draw(st.none() | st.integers(10, 150))
    return {
        "limits": BudgetLimits(trials=trials if epochs is not None else trials or 30, epochs=epochs),
        "scheduler": draw(st.sampled_from(LADDERS)),
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


@pytest.mark.parametrize("scheduler", LADDERS)
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
