"""Whole searches on a scripted executor: every sampler in small spaces of each kind, with each kind of training result.
Spaces in which the recipe rejects a sampler are left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from made_recipes import blobs_recipe
from made_studies import Overheard
from scripted_executor import ScriptedExecutor, make_job, no_fault

from probe.errors import RecipeError
from probe.search.jobs.jobs import Outcome, RungJob
from probe.search.records.objective import Objective
from probe.search.records.search import BudgetLimits, ParamValue
from probe.search.samplers.registry import SAMPLER_NAMES, make_sampler
from probe.search.space.configurations import grid_size, num_configurations
from probe.search.space.dimensions import build_space
from probe.search.space.space import Params, Space, axis_of, configuration_key, positions_of
from probe.search.study.events import Event
from probe.search.study.plan import StudyHooks, StudyPlan, new_state
from probe.search.study.snapshots import best_trial, trial_result
from probe.search.study.study import Study

SAMPLERS = tuple(name for name in SAMPLER_NAMES if name != "auto")
NUM_TRIALS = 16

SPACES: dict[str, dict[str, Any]] = {
    "ranges": {"x": {"low": 0.0, "high": 1.0}, "lr": {"low": 1e-4, "high": 1.0, "log": True}},
    "narrow": {"x": {"low": 0.1, "high": 0.1001}, "width": {"low": 1, "high": 3}},
    "choices": {"x": {"choices": [1, 2, 3, 4, 5]}, "activation": {"choices": ["relu", "gelu"]}},
    "conditions": {
        "optimizer": {"choices": ["sgd", "adam"]},
        "x": {"low": 0.0, "high": 1.0},
        "momentum": {"low": 0.0, "high": 0.9, "step": 0.3, "when": {"optimizer": "sgd"}},
        "dampening": {"low": 0.0, "high": 0.5, "when": {"momentum": {"min": 0.5}}},
    },
    "mixed": {
        "batch": {"low": 8, "high": 64, "pow2": True},
        "activation": {"choices": ["relu", "gelu", "tanh"]},
        "depth": {"low": 1, "high": 4},
        "lr": {"low": 1e-4, "high": 1.0, "log": True},
    },
    "powers and steps": {
        "width": {"low": 4, "high": 32, "pow2": True},
        "dropout": {"low": 0.0, "high": 0.4, "step": 0.1},
    },
    "large": {f"x{number}": {"choices": [1, 2, 3, 4, 5, 6, 7, 8]} for number in range(6)},
    "one point": {"x": {"choices": [0.5]}},
}


def made_space(name: str, sampler: str) -> Space | None:
    """None where the recipe refuses the sampler."""
    try:
        space = build_space(blobs_recipe(SPACES[name], search={"sampler": sampler}))
        make_sampler(sampler, space, mode="max", seed=0)
    except RecipeError:
        return None
    return space


MADE = {(sampler, name): space for sampler in SAMPLERS for name in SPACES if (space := made_space(name, sampler))}


def height(space: Space, params: Params) -> float:
    """From 0 to 1: the mean of where the values lie in their ranges."""
    positions = positions_of(space, params)
    return sum(_place(space, name, position) for name, position in positions.items()) / len(positions)


def _place(space: Space, name: str, position: ParamValue) -> float:
    axis = next(axis for axis in map(axis_of, space.dimensions) if axis.name == name)
    if axis.kind == "choices":
        return axis.choices.index(position) / max(1, len(axis.choices) - 1)
    low, high, at = (math.log(end) if axis.log else end for end in (axis.low, axis.high, float(position)))
    return (at - low) / (high - low)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What trainings come to, by `height`."""

    value: Callable[[float], float] = lambda height: height
    """The objective; NaN: undefined."""
    outcome: Callable[[float], Outcome | None] = lambda height: None
    has_best: bool = True


KINDS = {
    "usual": Kind(),
    "constant": Kind(value=lambda height: 0.5),
    "ties": Kind(value=lambda height: round(2 * height) / 2),
    "enormous": Kind(value=lambda height: 1e30 if height > 0.6 else -1e30 if height < 0.4 else height),
    "undefined": Kind(value=lambda height: math.nan if height > 0.45 else height),
    "nothing defined": Kind(value=lambda height: math.nan, has_best=False),
    "half out of memory": Kind(outcome=lambda height: "oom" if height > 0.45 else None),
    "nothing feasible": Kind(outcome=lambda height: "oom" if height > 0.45 else "diverged", has_best=False),
}


class Searched:
    """One search, whole or made again from the first of its events."""

    def __init__(
        self, sampler: str, space: Space, kind: Kind, *, num_trials: int, seed: int = 1, events: tuple[Event, ...] = ()
    ) -> None:
        def fault(job: RungJob, epoch: int, num_submitted: int) -> Outcome | None:
            return kind.outcome(height(space, job.params)) or no_fault(job, epoch, num_submitted)

        self.plan = StudyPlan(
            space=space,
            objective=Objective(metric="accuracy", mode="max"),
            rungs=(1, 3),
            factor=3,
            limits=BudgetLimits(trials=num_trials),
            seed=seed,
        )
        self.told: list[float | None] = []
        self.events = list(events)
        executor = ScriptedExecutor(accuracy=lambda params, epoch: kind.value(height(space, params)), fault=fault)
        asked: Any = make_sampler(sampler, space, mode="max", seed=seed)
        study = Study(
            self.plan,
            new_state(self.plan),
            sampler=Overheard(asked, lambda number, verdict, value: self.told.append(value)),
            executor=executor,
            make_job=make_job,
            hooks=StudyHooks(sink=self.events.append, clock=executor.clock),
        )
        study.replay(events)
        if events:
            study.resume(None)
        self.end = study.run()
        self.results = [trial_result(study.state, trial) for trial in study.state.trials]
        self.keys = [configuration_key(result.params) for result in self.results]


def size_of(space: Space, sampler: str) -> float:
    """How many trials nothing is left after."""
    return grid_size(space) if sampler == "grid" else num_configurations(space) or math.inf


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("sampler", "name"), [pair for pair in MADE if pair[1] != "large"])
def test_a_search_ends_and_trains_nothing_twice_whatever_the_results(sampler: str, name: str, kind: str) -> None:
    space, num_trials = MADE[sampler, name], NUM_TRIALS
    ran = Searched(sampler, space, KINDS[kind], num_trials=num_trials)
    size = size_of(space, sampler)
    assert ran.end == ("space" if size < num_trials else "trials")
    assert len(set(ran.keys)) == len(ran.keys) == min(num_trials, size)
    for result in ran.results:
        assert 0 <= height(space, result.params) <= 1
        assert all(math.isfinite(value) for value in result.params.values() if not isinstance(value, str))
    assert all(value is None or math.isfinite(value) for value in ran.told)
    best = best_trial(ran.plan.objective, ran.results)
    values = [KINDS[kind].value(height(space, result.params)) for result in ran.results if result.value is not None]
    assert (best is None) == (not values)
    assert KINDS[kind].has_best or best is None
    assert best is None or best.value == max(values)


@pytest.mark.parametrize(("sampler", "name"), MADE)
def test_one_trial_is_a_search(sampler: str, name: str) -> None:
    ran = Searched(sampler, MADE[sampler, name], Kind(), num_trials=1)
    assert (ran.end, [result.status for result in ran.results]) == ("trials", ["complete"])


@pytest.mark.parametrize("sampler", [sampler for sampler in SAMPLERS if (sampler, "large") in MADE])
def test_nothing_repeats_in_a_space_too_large_to_list_and_a_killed_search_goes_on_alike(sampler: str) -> None:
    """Six choices of eight: samplers that learn come back to what was best."""
    space, num_trials = MADE[sampler, "large"], 70
    assert num_configurations(space) is None
    ran = Searched(sampler, space, Kind(), num_trials=num_trials)
    assert len(set(ran.keys)) == len(ran.keys) == num_trials
    half = next(
        index for index, (one, _) in enumerate(pairwise(ran.events)) if getattr(one, "number", 0) == num_trials // 2
    )
    again = Searched(sampler, space, Kind(), num_trials=num_trials, events=tuple(ran.events[:half]))
    assert again.keys == ran.keys


@pytest.mark.parametrize("name", ["ranges", "mixed"])
@pytest.mark.parametrize("value", [lambda height: 0.5, lambda height: 1 - height], ids=["flat", "falls"])
@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_samplers_that_learn_keep_away_from_what_runs_out_of_memory(
    sampler: str, value: Callable[[float], float], name: str
) -> None:
    """Half of the space. By chance about half of the later trials would lie there."""
    kind = Kind(value=value, outcome=lambda height: "oom" if height > 0.5 else None)
    shares = {}
    for this in ("random", sampler):
        searches = [Searched(this, MADE[sampler, name], kind, num_trials=40, seed=seed) for seed in range(3)]
        late = [result.status == "oom" for ran in searches for result in ran.results[20:]]
        shares[this] = sum(late) / len(late)
    assert shares[sampler] < min(0.4, shares["random"])
