"""What a study is made of: its settings, its optional hooks, and the protocol of proposers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from probe.recipe.schema import SchedulerName
from probe.search.jobs.stopping import OomPolicy
from probe.search.records.objective import Objective
from probe.search.records.search import BudgetLimits, ParamValue, Refinement
from probe.search.schedulers.fidelity import FidelitySchedule
from probe.search.schedulers.registry import make_scheduler
from probe.search.space.space import Params, Space
from probe.search.study.events import Event
from probe.search.study.state import SearchState
from probe.search.study.trial import Trial

ProposerEnd = Literal["refined", "epochs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """The settings of a study."""

    space: Space
    objective: Objective
    rungs: tuple[int, ...]
    fidelity: FidelitySchedule | None = None
    """Meaning and cost of the rungs; None if rungs are epochs."""
    factor: int
    limits: BudgetLimits
    seed: int
    scheduler: SchedulerName = "asha"
    on_oom: OomPolicy = "accumulate"
    patience: int | None = None
    """Epochs without improvement after which a trial is complete; None for no limit."""
    starts: tuple[Params, ...] = ()
    """Configurations that are tried first, even if they were tried before. What they leave open is sampled."""
    guesses: tuple[Params, ...] = ()
    """Whole configurations that are tried next, unless they were tried before."""
    probe_epochs: float = 0.0
    """Epochs spent before the first trial."""
    probe_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A trial suggested by a proposer."""

    params: Mapping[str, ParamValue]
    seed: int
    """The base's seed: with the same initial weights and batches, a difference is due to the hyperparameters."""
    refinement: Refinement


class Proposer(Protocol):
    """Proposes trials after the sampler. Proposals depend on the study's state alone, so that a resumed search repeats
    them."""

    @property
    def ended_by(self) -> ProposerEnd | None:
        """Why there are no more proposals; None if there may be more."""

    @property
    def warning(self) -> str | None:
        """A warning about the end of the proposals, or None."""

    def is_due(self, state: SearchState) -> bool:
        """Whether the next trial is proposed by this proposer."""

    def propose(self, state: SearchState, *, epochs_left: float) -> Proposal | None:
        """Return the next trial, or None at the end. Called only while no trial runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyHooks:
    """Optional functions and parts of a study."""

    sink: Callable[[Event], None] | None = None
    """Stores each event, before it is applied."""
    observer: Callable[[Any], None] | None = None
    """Receives progress records and the results of trials."""
    discard: Callable[[Trial, int], object] | None = None
    """Deletes the checkpoint of a trial after so many epochs, which no job will load any more."""
    free_disk: Callable[..., object] | None = None
    """Makes room for a checkpoint, before a job that writes one, and with `has_failed=True` after the disk was full."""
    can_start: Callable[[Trial, Sequence[Trial]], bool] | None = None
    """Whether a trial can start beside the running ones. It must allow a trial that runs alone."""
    proposer: Proposer | None = None
    clock: Callable[[], float] = time.monotonic


def new_state(plan: StudyPlan) -> SearchState:
    """Return the state of a study before its first event."""
    fidelity = plan.fidelity or FidelitySchedule(rungs=plan.rungs)
    scheduler = make_scheduler(
        plan.scheduler, fidelity.rungs, factor=plan.factor, mode=plan.objective.mode, costs=fidelity.costs
    )
    return SearchState(scheduler=scheduler, objective=plan.objective, fidelity=fidelity)
