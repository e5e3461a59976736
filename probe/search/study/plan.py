"""What a study is asked: the space, the ladder, the budget, where to begin."""

from __future__ import annotations

from dataclasses import dataclass

from probe.search.jobs.stopping import OomPolicy
from probe.search.records.objective import Objective
from probe.search.records.search import BudgetLimits
from probe.search.schedulers.brackets import SchedulerName, make_scheduler
from probe.search.schedulers.fidelity import FidelitySchedule
from probe.search.space.space import Params, Space
from probe.search.study.state import SearchState


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    space: Space
    objective: Objective
    rungs: tuple[int, ...]
    fidelity: FidelitySchedule | None = None
    """What the rungs mean; None: epochs."""
    factor: int
    limits: BudgetLimits
    seed: int
    scheduler: SchedulerName = "asha"
    on_oom: OomPolicy = "accumulate"
    patience: int | None = None
    """Epochs without a better value after which a trial ends."""
    starts: tuple[Params, ...] = ()
    """Configurations to try first, in any case."""
    guesses: tuple[Params, ...] = ()
    """Whole configurations to try after these, unless one of these is the same."""
    probe_epochs: float = 0.0
    """Spent before the first trial."""
    probe_seconds: float = 0.0


def new_state(plan: StudyPlan) -> SearchState:
    fidelity = plan.fidelity or FidelitySchedule(rungs=plan.rungs)
    scheduler = make_scheduler(
        plan.scheduler, fidelity.rungs, factor=plan.factor, mode=plan.objective.mode, costs=fidelity.costs
    )
    return SearchState(scheduler=scheduler, objective=plan.objective, fidelity=fidelity)
