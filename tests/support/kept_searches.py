"""Scripted searches that keep checkpoints."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from scripted_executor import ScriptedExecutor, make_job

from probe.recipe.schema import SchedulerName
from probe.search.jobs.jobs import Outcome, RungJob
from probe.search.records.objective import Objective
from probe.search.records.search import BudgetLimits, Dimension
from probe.search.samplers.registry import make_sampler
from probe.search.space.space import Space
from probe.search.study.events import Event, TrialEnded
from probe.search.study.plan import StudyHooks, StudyPlan, new_state
from probe.search.study.state import SearchState
from probe.search.study.study import Study
from probe.search.study.trial import Trial

SCHEDULERS: list[SchedulerName] = ["asha", "halving", "hyperband"]


CONTINUUM = Dimension(name="quality", kind="float", low=0.0, high=1.0)


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
