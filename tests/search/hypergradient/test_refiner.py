"""Where gradient steps go: the pure decisions, and a study that makes them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_executor import ScriptedExecutor, make_job

from probe.recipe.refine import Refine
from probe.search.hypergradient.job import GradientReport
from probe.search.hypergradient.refiner import Refiner
from probe.search.hypergradient.steps import (
    MIN_STEP,
    UNROLLED_COST,
    Tried,
    coordinate,
    next_params,
    next_step,
    value_of,
)
from probe.search.jobs.jobs import Outcome, RungJob
from probe.search.records.objective import Objective
from probe.search.records.search import BudgetLimits, Dimension, ParamValue, Refinement
from probe.search.samplers.registry import make_sampler
from probe.search.space.space import Space
from probe.search.study.events import Event, TrialSuggested
from probe.search.study.plan import StudyHooks, StudyPlan, new_state
from probe.search.study.snapshots import best_trial, first_rung_scores, trial_result
from probe.search.study.study import Study
from probe.search.study.trial import Trial

LR = Dimension(name="lr", kind="float", low=1e-4, high=1.0, log=True)
MOMENTUM = Dimension(name="momentum", kind="float", low=0.0, high=0.9)
SPACE = Space(dimensions=(LR, MOMENTUM), constants={"optimizer": "sgd"})
LOSS = Objective(metric="loss", mode="min")
REFINE = Refine(method="hypergradient", after=4, hyperparameters=("lr", "momentum"), step=0.2)
EPOCHS = 2


def refinement(base: int = 0, step: float = 0.1, lr: float = 1.0) -> Refinement:
    return Refinement(base=base, step=step, gradient={"lr": lr})


@given(values=st.lists(st.none() | st.floats(0, 10), max_size=12), first=st.floats(0.01, 1))
@settings(deadline=None)
def test_the_base_is_the_best_so_far_and_steps_shrink_after_failures(values: list[float | None], first: float) -> None:
    tried: list[Tried] = []
    best, best_number = 5.0, 0
    for number, value in enumerate(values, start=1):
        place = next_step(0, 5.0, tried, first_step=first)
        assert place.base == best_number
        assert 0 < place.step <= max(first, 0.5)
        assert (place.known is not None) == bool(tried and tried[-1].refinement.base == best_number)
        tried.append(Tried(number=number, refinement=refinement(place.base, place.step), value=value))
        if value is not None and value < best:
            best, best_number = value, number
    for _ in range(10):
        place = next_step(0, 5.0, tried, first_step=first)
        if place.is_over:
            break
        tried.append(Tried(number=99, refinement=refinement(place.base, place.step), value=None))
    assert place.is_over  # failures end it
    assert place.step < MIN_STEP


@given(
    lr=st.floats(1e-4, 1.0),
    momentum=st.floats(0, 0.9),
    slopes=st.tuples(*[st.floats(-1e6, 1e6)] * 2),
    step=st.floats(0.01, 0.5),
)
@settings(deadline=None)
def test_a_step_stays_in_the_ranges_and_goes_against_the_gradient(
    lr: float, momentum: float, slopes: tuple[float, float], step: float
) -> None:
    params: dict[str, ParamValue] = {"lr": lr, "momentum": momentum, "optimizer": "sgd"}
    gradient = dict(zip(("lr", "momentum"), slopes, strict=True))
    new = next_params(SPACE.dimensions, params, gradient, step)
    if new is None:
        return
    assert new["optimizer"] == "sgd"
    for dimension in SPACE.dimensions:
        before, after = (coordinate(dimension, float(p[dimension.name])) for p in (params, new))
        assert 0 <= after <= 1
        assert abs(after - before) <= step + 1e-3  # four digits are kept
        assert (after - before) * gradient[dimension.name] <= 1e-3 * abs(gradient[dimension.name])


def test_the_largest_coordinate_moves_by_the_step_on_its_own_scale() -> None:
    params: dict[str, ParamValue] = {"lr": 0.01, "momentum": 0.45, "optimizer": "sgd"}
    # On the coordinates: d/du = value * ln(high / low) = 0.0921 for lr, 0.9 for momentum.
    new = next_params(SPACE.dimensions, params, {"lr": 1.0, "momentum": 0.0}, 0.25)
    assert new is not None
    assert new["lr"] == pytest.approx(0.001)
    assert new["momentum"] == 0.45
    both = next_params(SPACE.dimensions, params, {"lr": -0.9 / (0.01 * math.log(1e4)), "momentum": 0.5}, 0.2)
    assert both is not None
    assert both["momentum"] == pytest.approx(0.45 - 0.9 * 0.1)
    assert both["lr"] == pytest.approx(0.01 * 1e4**0.2, rel=1e-3)


@pytest.mark.parametrize("gradient", [{"lr": 0.0}, {"lr": math.nan}, {"lr": -1.0}])
def test_a_gradient_that_leads_nowhere(gradient: dict[str, float]) -> None:
    assert next_params([LR], {"lr": 1.0}, gradient, 0.1) is None  # zero, none, out of the range


@given(place=st.floats(0, 1))
def test_coordinates_and_values_are_inverse(place: float) -> None:
    for dimension in SPACE.dimensions:
        assert coordinate(dimension, value_of(dimension, place)) == pytest.approx(place, abs=1e-3)


def bowl(params: dict[str, Any], epoch: int) -> float:
    """1 - validation loss: a bowl around lr 0.03, momentum 0.6, halved by each epoch."""
    x, y = coordinate(LR, float(params["lr"])), coordinate(MOMENTUM, float(params["momentum"]))
    return 1 - (0.1 + (x - coordinate(LR, 0.03)) ** 2 + (y - 2 / 3) ** 2) * (1 + 0.5**epoch)


def slope(params: dict[str, Any], epoch: int) -> dict[str, float]:
    found = {}
    for name in ("lr", "momentum"):
        step = 1e-6 * float(params[name]) + 1e-12
        above, below = (bowl({**params, name: float(params[name]) + sign * step}, epoch) for sign in (1, -1))
        found[name] = -(above - below) / (2 * step)
    return found


class Refined:
    """A study of four random trials and what follows."""

    def __init__(
        self,
        *,
        limits: BudgetLimits,
        slots: int = 1,
        faults: dict[int, Outcome] | None = None,
        report: GradientReport | None = None,
        uphill: bool = False,
        events: tuple[Event, ...] = (),
        starts: tuple[dict[str, float], ...] = (),
    ) -> None:
        self.plan = StudyPlan(
            space=SPACE,
            objective=LOSS,
            rungs=(EPOCHS,),
            factor=3,
            limits=limits,
            seed=3,
            scheduler="none",
            starts=starts,
        )
        self.state = new_state(self.plan)
        self.events: list[Event] = list(events)
        self.asked: list[int] = []
        running: list[int] = []

        def differentiate(trial: Trial, epochs: int) -> GradientReport:
            assert not self.state.running
            self.asked.append(trial.number)
            if report is not None:
                return report
            gradient = slope(dict(trial.params), epochs)
            sign = -1 if uphill else 1
            return GradientReport(
                gradient={name: sign * value for name, value in gradient.items()},
                cost=1000 * UNROLLED_COST * epochs,
                num_unrolled=9,
                num_steps=9,
            )

        def fault(job: RungJob, epoch: int, num_submitted: int) -> Outcome | None:
            running.append(job.number)
            return (faults or {}).get(job.number)

        self.refiner = Refiner(
            Refine(method="hypergradient", after=4, hyperparameters=("lr", "momentum"), step=0.2),
            SPACE,
            LOSS,
            differentiate=differentiate,
        )
        executor = ScriptedExecutor(num_slots=slots, accuracy=bowl, fault=fault)
        study = Study(
            self.plan,
            self.state,
            sampler=make_sampler("random", SPACE, mode="min", seed=3),
            executor=executor,
            make_job=make_job,
            hooks=StudyHooks(sink=self.events.append, proposer=self.refiner, clock=executor.clock),
        )
        study.replay(events)
        if events:
            study.resume(None)
        self.end = study.run()
        self.results = [trial_result(self.state, trial) for trial in self.state.trials]


@pytest.mark.parametrize("slots", [1, 3])
def test_steps_go_down_the_bowl_and_end_by_themselves(slots: int) -> None:
    ran = Refined(limits=BudgetLimits(trials=60), slots=slots)
    assert ran.end == "refined"
    drawn, steps = ran.results[:4], ran.results[4:]
    assert all(trial.refinement is None for trial in drawn)
    start = min(drawn, key=lambda trial: trial.value or 9.0)
    assert steps[0].refinement is not None
    assert steps[0].refinement.base == start.number
    best = best_trial(LOSS, ran.results)
    assert best is not None
    assert best.value < (start.value or 0.0)
    assert float(best.params["lr"]) == pytest.approx(0.03, rel=0.15)
    assert float(best.params["momentum"]) == pytest.approx(0.6, abs=0.03)
    # All from the same initial weights, each from the best before it, its gradient asked for once.
    assert {trial.seed for trial in steps} == {start.seed}
    assert len(ran.asked) == len(set(ran.asked))
    value = start.value or 0.0
    for trial in steps:
        assert trial.refinement is not None
        assert ran.results[trial.refinement.base].value == value
        value = min(value, trial.value or 9.0)


def test_gradients_are_paid_from_the_budget() -> None:
    ran = Refined(limits=BudgetLimits(epochs=60))
    assert ran.end == "epochs"
    assert ran.state.spent_epochs == sum(trial.epochs for trial in ran.results) <= 60
    for trial in ran.results[4:]:
        assert trial.refinement is not None
        assert trial.epochs == EPOCHS + trial.refinement.epochs
    paid = [
        trial.refinement.epochs for trial in ran.results if trial.refinement is not None and trial.refinement.epochs
    ]
    assert paid == [UNROLLED_COST * EPOCHS] * len(ran.asked)


def test_a_wrong_gradient_costs_little_and_ends_it() -> None:
    ran = Refined(limits=BudgetLimits(trials=60), uphill=True)
    assert ran.end == "refined"
    assert len(ran.asked) == 1
    best = best_trial(LOSS, ran.results)
    assert best is not None
    assert best.number < 4


def test_without_a_gradient_the_search_ends_with_a_warning() -> None:
    ran = Refined(limits=BudgetLimits(trials=60), report=GradientReport(message="out of memory", cost=8000))
    assert (ran.end, len(ran.results)) == ("refined", 4)
    assert ran.refiner.warning is not None
    assert "out of memory" in ran.refiner.warning
    assert "8 epochs" in ran.refiner.warning


def test_steps_to_the_end_of_a_range_are_not_repeated() -> None:
    """A long step and shorter ones from near the end all lead to the end."""
    starts = tuple({"lr": lr, "momentum": 0.6} for lr in (0.9, 1e-4, 2e-4, 3e-4))
    report = GradientReport(gradient={"lr": -1.0, "momentum": 0.0}, cost=8000)
    ran = Refined(limits=BudgetLimits(trials=60), report=report, starts=starts)
    assert ran.end == "refined"
    lrs = [trial.params["lr"] for trial in ran.results[4:]]
    assert lrs[0] == 1.0
    assert len(set(lrs)) == len(lrs) == 2
    assert 0.9 < float(lrs[1]) < 1.0
    steps = [trial.refinement.step for trial in ran.results[4:] if trial.refinement is not None]
    assert steps == pytest.approx([0.2, 0.2 / 27])


def test_steps_that_diverge_are_not_kept() -> None:
    ran = Refined(limits=BudgetLimits(trials=9), faults={4: "diverged", 5: "oom"})
    assert [trial.status for trial in ran.results[4:6]] == ["diverged", "oom"]
    bases = [trial.refinement.base for trial in ran.results[4:7] if trial.refinement is not None]
    assert len(set(bases)) == 1
    assert ran.asked[0] == bases[0]
    assert ran.asked.count(bases[0]) == 1


def test_while_no_trial_has_a_value_the_sampler_goes_on() -> None:
    ran = Refined(limits=BudgetLimits(trials=8), faults=dict.fromkeys(range(5), "diverged"))
    assert [trial.refinement is None for trial in ran.results] == [True] * 6 + [False] * 2


@pytest.mark.parametrize("kept", range(0, 60, 7))
def test_a_search_that_was_killed_goes_on_alike(kept: int) -> None:
    whole = Refined(limits=BudgetLimits(trials=12))
    again = Refined(limits=BudgetLimits(trials=12), events=tuple(whole.events[:kept]))
    assert [(t.params, t.value, t.refinement) for t in again.results] == [
        (t.params, t.value, t.refinement) for t in whole.results
    ]
    assert again.end == whole.end


def test_events_keep_the_gradient_and_importance_leaves_steps_out() -> None:
    from probe.records_json import from_plain, to_plain

    ran = Refined(limits=BudgetLimits(trials=8))
    asked = [event for event in ran.events if isinstance(event, TrialSuggested)]
    assert [event.refinement is None for event in asked] == [True] * 4 + [False] * 4
    for event in asked:
        assert from_plain(TrialSuggested, to_plain(event)) == event
    assert len(first_rung_scores(ran.state)) == 4
