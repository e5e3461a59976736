from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_recipes import blobs_recipe
from made_records import plain_search_result, search_result
from scripted_executor import ScriptedExecutor, make_job, steady_accuracy

from probe.recipe.schema import Recipe
from probe.search.compare.compare import epochs_to, improving, incumbents_of_trials, value_after
from probe.search.jobs.jobs import Outcome, RungJob
from probe.search.plans import study_plan
from probe.search.records.comparison import Incumbent
from probe.search.records.search import Dimension, SearchResult
from probe.search.results import StageResults, make_result
from probe.search.samplers.registry import make_sampler
from probe.search.schedulers.registry import choose_scheduler
from probe.search.settings import make_settings
from probe.search.space.space import Space
from probe.search.stored_result import incumbents_of_events
from probe.search.study.events import EpochReported, Event, TrialEnded
from probe.search.study.plan import StudyHooks, new_state
from probe.search.study.study import Study
from probe.tasks.source import TargetSource

QUALITY = Space(dimensions=(Dimension(name="quality", kind="float", low=0.0, high=1.0),), constants={})


def zigzag(params: dict[str, Any], epoch: int) -> float:
    """Worse in every third epoch, so that the best and the last one differ."""
    return steady_accuracy(params, epoch) * (0.5 if epoch % 3 == 0 else 1.0)


def searched(
    recipe: Recipe, *, slots: int = 1, faults: dict[int, Outcome] | None = None
) -> tuple[SearchResult, list[Event]]:
    """A whole study by scripted jobs, without probes and final fit."""
    from probe.device.select import parse_device
    from probe.records import RunMeta

    setup = make_settings(recipe, TargetSource(target="x:y"), device=parse_device("cpu"), num_workers=slots)
    blank = dict.fromkeys(("probe_version", "python_version", "torch_version", "platform", "device", "started_at"), "")
    meta = RunMeta(
        **blank, cuda_version=None, driver_version=None, num_threads=1, seed=setup.seed, argv=(), recipe_hash=None
    )  # fmt: skip
    found = StageResults(meta=meta, space=QUALITY, sampler="random", probe_epochs=1.5)
    plan = study_plan(setup, found, seconds=0.0)
    found.state = new_state(plan)
    events: list[Event] = []

    def fault(job: RungJob, epoch: int, num_submitted: int) -> Outcome | None:
        return (faults or {}).get(job.number) if epoch == job.epochs_to else None

    executor = ScriptedExecutor(num_slots=slots, accuracy=zigzag, fault=fault)
    study = Study(
        plan,
        found.state,
        sampler=make_sampler("random", QUALITY, mode="max", seed=setup.seed),
        executor=executor,
        make_job=make_job,
        hooks=StudyHooks(sink=events.append, clock=executor.clock),
    )
    end = study.run()
    return make_result(setup, found, stopped_by=end, seconds=1.0), events


@settings(deadline=None, max_examples=40)
@given(
    scheduler=st.sampled_from(["none", "asha", "halving", "hyperband"]),
    reduce=st.sampled_from(["best", "last"]),
    seed=st.integers(0, 50),
    slots=st.integers(1, 3),
    faults=st.dictionaries(st.integers(0, 8), st.sampled_from(["oom", "diverged", "crashed"]), max_size=3),
)
def test_the_curve_improves_and_ends_at_the_best(
    scheduler: str, reduce: str, seed: int, slots: int, faults: dict[int, Outcome]
) -> None:
    recipe = blobs_recipe(
        task={"target": "x:y", "objective": {"metric": "accuracy", "mode": "max", "reduce": reduce}},
        search={"scheduler": scheduler, "seed": seed, "fidelity": {"min": 1, "max": 9, "factor": 3}},
        budget={"epochs": 60},
    )
    result, events = searched(recipe, slots=slots, faults=faults)
    for curve in (incumbents_of_events(recipe, choose_scheduler(recipe), events, result), incumbents_of_trials(result)):
        if result.best is None:
            assert curve == ()
            continue
        values, epochs = [point.value for point in curve], [point.epochs for point in curve]
        assert values == sorted(set(values))
        assert values[-1] == result.best.value
        assert epochs == sorted(epochs)
        assert epochs[0] > 1.5
        assert epochs[-1] <= result.spent.epochs
        assert value_after(curve, result.spent.epochs) == result.best.value


def test_epochs_are_counted_when_they_are_trained_whichever_trial_they_belong_to() -> None:
    recipe = blobs_recipe(
        search={"scheduler": "asha", "fidelity": {"min": 1, "max": 9, "factor": 3}}, budget={"epochs": 40}
    )
    result, events = searched(recipe)
    curve = incumbents_of_events(recipe, choose_scheduler(recipe), events, result)
    # By hand: the reports in their order, each costing one epoch after the 1.5 of the probes.
    reports = [event for event in events if isinstance(event, EpochReported)]
    best, expected = 0.0, []
    for number, event in enumerate(reports, start=1):
        value = event.report.metrics["accuracy"]
        if value > best:
            best = value
            expected.append(Incumbent(epochs=1.5 + number, value=value))
    assert list(curve) == expected
    # Laid end to end, what a trial gained after its promotion stands where the trial began.
    assert curve != incumbents_of_trials(result)


def test_where_the_last_epoch_counts_only_ends_of_rungs_do() -> None:
    recipe = blobs_recipe(
        task={"target": "x:y", "objective": {"metric": "accuracy", "mode": "max", "reduce": "last"}},
        search={"scheduler": "none", "fidelity": {"max": 3}},
        budget={"trials": 6},
    )
    result, events = searched(recipe)
    ends = {1.5 + 3.0 * number for number in range(1, 7)}
    curve = incumbents_of_events(recipe, choose_scheduler(recipe), events, result)
    assert {point.epochs for point in curve} <= ends
    assert sum(isinstance(event, TrialEnded) for event in events) == 6
    assert curve == incumbents_of_trials(result)  # with one worker and no ladder there is no difference


def test_a_trial_that_diverged_later_was_never_ahead() -> None:
    recipe = blobs_recipe(
        search={"scheduler": "asha", "fidelity": {"min": 1, "max": 9, "factor": 3}}, budget={"epochs": 40}
    )
    healthy, _ = searched(recipe)
    assert healthy.best is not None
    result, events = searched(recipe, faults={healthy.best.number: "diverged"})
    curve = incumbents_of_events(recipe, choose_scheduler(recipe), events, result)
    told = {
        report.metrics["accuracy"] for trial in result.trials if trial.value is not None for report in trial.reports
    }
    assert {point.value for point in curve} <= told


CURVE = (Incumbent(epochs=2.0, value=0.5), Incumbent(epochs=7.0, value=0.8))


@pytest.mark.parametrize(("epochs", "value"), [(1.9, None), (2.0, 0.5), (6.9, 0.5), (7.0, 0.8), (1e9, 0.8)])
def test_the_value_after_some_epochs(epochs: float, value: float | None) -> None:
    assert value_after(CURVE, epochs) == value


def test_epochs_to_a_target_in_both_directions() -> None:
    assert epochs_to(CURVE, 0.8, mode="max") == 7.0
    assert epochs_to(CURVE, 0.4, mode="max") == 2.0
    assert epochs_to(CURVE, 0.81, mode="max") is None
    falling = tuple(Incumbent(epochs=point.epochs, value=-point.value) for point in CURVE)
    assert epochs_to(falling, -0.8, mode="min") == 7.0


def test_a_search_without_a_value_has_no_curve() -> None:
    assert incumbents_of_trials(plain_search_result()) == ()


def test_a_value_that_a_later_one_replaced_is_no_incumbent() -> None:
    """The result's best is the last word: it is appended if no trial before it stands for it."""
    whole = search_result()
    assert whole.best is not None
    better = Incumbent(epochs=1.0, value=whole.best.value + 1)
    assert improving([better], lambda one, other: one > other, whole) == (
        Incumbent(epochs=whole.spent.epochs, value=whole.best.value),
    )
