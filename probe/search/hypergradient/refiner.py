"""The part of a study that comes after its sampler: gradient steps from the best trial, one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from probe.search.hypergradient.steps import MIN_STEP, SHRINKAGE, Place, Tried, next_params, place_after
from probe.search.records.objective import Objective, best_epoch, reduced_value
from probe.search.records.search import ParamValue, Refinement
from probe.search.schedulers.fidelity import in_epochs
from probe.search.space.space import Space, configuration_key
from probe.search.study.plan import Proposal, ProposerEnd
from probe.search.study.state import SearchState, Trial
from probe.units import format_count

if TYPE_CHECKING:
    from probe.search.hypergradient.job import GradientReport

UNROLLED_COST = 4
"""probe.search.hypergradient.unrolled.UNROLLED_COST, which would load PyTorch."""
Differentiate = Callable[[Trial, int], "GradientReport"]
"""(trial, epochs) -> the gradient of its validation loss after so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinePlan:
    after: int
    names: tuple[str, ...]
    first_step: float
    unroll: int | None = None


class Refiner:
    """Decides by the study's state alone, but for a gradient that is not known yet, for which it calls `differentiate`."""

    def __init__(self, plan: RefinePlan, space: Space, objective: Objective, *, differentiate: Differentiate) -> None:
        self._plan = plan
        self._objective = objective
        self._differentiate = differentiate
        self._dimensions = [dimension for dimension in space.dimensions if dimension.name in plan.names]
        self.ended_by: ProposerEnd | None = None
        """None while it goes on."""
        self.warning: str | None = None
        """Why there was no gradient."""

    def is_due(self, state: SearchState) -> bool:
        """Whether the next trial is a gradient step: the sampler has had its trials, and one of them came to a value."""
        return len(state.trials) >= self._plan.after and (bool(state.running) or self._start(state) is not None)

    def propose(self, state: SearchState, *, epochs_left: float) -> Proposal | None:
        """The next trial; None where the refinement is over, which `ended_by` then says. Only while no trial runs."""
        start = self._start(state)
        if self.ended_by is not None or start is None:
            return None
        tried = [
            Tried(number=trial.number, refinement=trial.refinement, value=self._value(trial))
            for trial in state.trials
            if trial.refinement is not None
        ]
        place = place_after(start.number, self._value(start) or 0.0, tried, first_step=self._plan.first_step)
        base = state.trials[place.base]
        if place.is_over:
            self.ended_by = "refined"
            return None
        epochs = best_epoch(self._objective, base.counted) or len(base.counted)
        cost = state.scheduler.epochs_between(0) + (UNROLLED_COST * epochs if place.known is None else 0)
        if cost > epochs_left:
            self.ended_by = "epochs"
            return None
        refinement = self._refinement(base, epochs, place)
        params = None
        if refinement is not None:
            refinement, params = self._new_params(base, refinement, state.trials)
            if params is None:
                told = (
                    f"The refinement ended at trial {base.number}: its gradient leads to no configuration that is new."
                )
                self.warning = told + _unpaid(refinement.epochs)
        if refinement is None or params is None:
            self.ended_by = "refined"
            return None
        return Proposal(params=params, seed=base.seed, refinement=refinement)

    def _new_params(
        self, base: Trial, refinement: Refinement, trials: Sequence[Trial]
    ) -> tuple[Refinement, dict[str, ParamValue] | None]:
        """One step from the base, shortened until no trial had that configuration: at the end of a range, a long step and a
        shorter one may lead to the same. None where it leads nowhere."""
        tried = {configuration_key(trial.params) for trial in trials}
        while refinement.step >= MIN_STEP:
            params = next_params(self._dimensions, base.params, refinement.gradient, refinement.step)
            if params is None or configuration_key(params) not in tried:
                return refinement, params
            refinement = replace(refinement, step=SHRINKAGE * refinement.step)
        return refinement, None

    def _refinement(self, base: Trial, epochs: int, place: Place) -> Refinement | None:
        """By the gradient at the base that is known, or by a new one; None where there is none."""
        if place.known is not None:
            return Refinement(base=base.number, step=place.step, gradient=place.known.gradient)
        report = self._differentiate(base, epochs)
        if not report.gradient:
            told = f"The refinement ended at trial {base.number}: {report.message}."
            self.warning = told + _unpaid(in_epochs(report.cost))
            return None
        return Refinement(
            base=base.number,
            step=place.step,
            gradient=report.gradient,
            epochs=in_epochs(report.cost),
            num_unrolled=report.num_unrolled,
            num_steps=report.num_steps,
        )

    def _start(self, state: SearchState) -> Trial | None:
        """The best of the sampler's trials, of equal ones the earliest."""
        valued = [
            trial
            for trial in state.trials
            if trial.refinement is None and trial.gradient_accumulation is None and self._value(trial) is not None
        ]
        return min(valued, key=lambda trial: self._value(trial) or 0.0, default=None)

    def _value(self, trial: Trial) -> float | None:
        """Its validation loss, where it was trained to the end."""
        if trial.rung < 0 or trial.status not in (None, "complete"):
            return None
        value = reduced_value(self._objective, trial.counted)
        return value if value is not None and math.isfinite(value) else None


def _unpaid(epochs: float) -> str:
    """A gradient that no trial came of is in nobody's sum."""
    return f" That took {format_count(epochs)} epochs, which the budget does not show." if epochs else ""
