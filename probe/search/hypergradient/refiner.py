"""The proposer of gradient steps: after the sampler's trials, one step after the other from the best trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from probe.errors import ProbeError
from probe.recipe.refine import Refine
from probe.search.executors.protocol import SearchExecutor
from probe.search.hypergradient.job import GradientJob, GradientReport, run_gradient
from probe.search.hypergradient.steps import MIN_STEP, SHRINKAGE, UNROLLED_COST, NextStep, Tried, next_params, next_step
from probe.search.records.objective import Objective, best_epoch, reduced_value
from probe.search.records.search import ParamValue, Refinement
from probe.search.results import StageResults
from probe.search.schedulers.fidelity import in_epochs
from probe.search.settings import SearchSettings
from probe.search.space.space import Space, configuration_key
from probe.search.study.plan import Proposal, ProposerEnd
from probe.search.study.state import SearchState
from probe.search.study.trial import Trial
from probe.units import format_count

Differentiate = Callable[[Trial, int], GradientReport]
"""(trial, epochs) -> gradient of the trial's validation loss after that many epochs."""


class Refiner:
    """Proposes gradient steps. Decisions depend on the study's state and the computed gradients only."""

    def __init__(self, settings: Refine, space: Space, objective: Objective, *, differentiate: Differentiate) -> None:
        self._settings = settings
        self._objective = objective
        self._differentiate = differentiate
        self._dimensions = [dimension for dimension in space.dimensions if dimension.name in settings.hyperparameters]
        self.ended_by: ProposerEnd | None = None
        """Why the refinement ended; None before that."""
        self.warning: str | None = None
        """Why a gradient is missing or useless."""

    def is_due(self, state: SearchState) -> bool:
        """Whether the next trial is a gradient step: the sampler had its trials, and one of them has a value or may get one."""
        return len(state.trials) >= self._settings.after and (bool(state.running) or self._start(state) is not None)

    def propose(self, state: SearchState, *, epochs_left: float) -> Proposal | None:
        """The next trial; None, with a reason in `ended_by`, if the refinement is over. Called only while no trial runs."""
        start = self._start(state)
        if self.ended_by is not None or start is None:
            return None
        tried = [
            Tried(number=trial.number, refinement=trial.refinement, value=self._value(trial))
            for trial in state.trials
            if trial.refinement is not None
        ]
        following = next_step(start.number, self._value(start) or 0.0, tried, first_step=float(self._settings.step))
        base = state.trials[following.base]
        if following.is_over:
            self.ended_by = "refined"
            return None
        epochs = best_epoch(self._objective, base.counted) or len(base.counted)
        cost = state.scheduler.costs[0] + (UNROLLED_COST * epochs if following.known is None else 0)
        if cost > epochs_left:
            self.ended_by = "epochs"
            return None
        refinement = self._refinement(base, epochs, following)
        params = None
        if refinement is not None:
            refinement, params = self._new_params(base, refinement, state.trials)
            if params is None:
                ended = f"The refinement ended at trial {base.number}: its gradient leads to no new configuration."
                self.warning = ended + _uncounted(refinement.epochs)
        if refinement is None or params is None:
            self.ended_by = "refined"
            return None
        return Proposal(params=params, seed=base.seed, refinement=refinement)

    def _new_params(
        self, base: Trial, refinement: Refinement, trials: Sequence[Trial]
    ) -> tuple[Refinement, dict[str, ParamValue] | None]:
        """One step from the base, shortened until it leads to a new configuration (at the end of a range, several
        lengths lead to the same one); None if there is no such step."""
        tried = {configuration_key(trial.params) for trial in trials}
        while refinement.step >= MIN_STEP:
            params = next_params(self._dimensions, base.params, refinement.gradient, refinement.step)
            if params is None or configuration_key(params) not in tried:
                return refinement, params
            refinement = replace(refinement, step=SHRINKAGE * refinement.step)
        return refinement, None

    def _refinement(self, base: Trial, epochs: int, following: NextStep) -> Refinement | None:
        """The next step, from the base's known gradient or from a new one; None if the gradient cannot be computed."""
        if following.known is not None:
            return Refinement(base=base.number, step=following.step, gradient=following.known.gradient)
        report = self._differentiate(base, epochs)
        if not report.gradient:
            ended = f"The refinement ended at trial {base.number}: {report.message}."
            self.warning = ended + _uncounted(in_epochs(report.cost))
            return None
        return Refinement(
            base=base.number,
            step=following.step,
            gradient=report.gradient,
            epochs=in_epochs(report.cost),
            num_unrolled=report.num_unrolled,
            num_steps=report.num_steps,
        )

    def _start(self, state: SearchState) -> Trial | None:
        """The sampler's best trial, the earliest of equal ones; None if no trial has a value."""
        valued = [
            trial
            for trial in state.trials
            if trial.refinement is None and trial.gradient_accumulation is None and self._value(trial) is not None
        ]
        return min(valued, key=lambda trial: self._value(trial) or 0.0, default=None)

    def _value(self, trial: Trial) -> float | None:
        """The validation loss of a trial that was trained to the end; None for others."""
        if trial.rung < 0 or trial.status not in (None, "complete"):
            return None
        value = reduced_value(self._objective, trial.counted)
        return value if value is not None and math.isfinite(value) else None


def _uncounted(epochs: float) -> str:
    """The cost of a gradient that led to no trial, which therefore is not part of the epochs spent."""
    return f" It cost {format_count(epochs)} epochs, which are not included in the budget." if epochs else ""


def make_proposer(refine: Refine, setup: SearchSettings, found: StageResults, executor: SearchExecutor) -> Refiner:
    """The refiner for the recipe's [search.refine]. `found` must hold the space of the search."""

    def differentiate(trial: Trial, epochs: int) -> GradientReport:
        job = GradientJob(
            source=setup.source,
            params=trial.params,
            seed=trial.seed,
            split=setup.split,
            device=setup.device,
            planned_epochs=setup.fidelity.full_epochs,
            epochs=epochs,
            names=refine.hyperparameters,
            unroll=refine.unroll,
            reference=setup.reference,
        )
        try:
            report: GradientReport = executor.run(run_gradient, job)
        except ProbeError as error:  # the results of the trials must not be lost
            return GradientReport(message=error.message.removesuffix("."))
        return report

    return Refiner(refine, found.space, setup.objective, differentiate=differentiate)


def describe(refine: Refine, full_epochs: int) -> tuple[str, ...]:
    """What `probe space` says about the refinement. `full_epochs` is the length of a whole training."""
    *before, last = refine.hyperparameters
    names = f"{', '.join(before)} and {last}" if before else last
    steps = "the whole training"
    if refine.unroll is not None:
        steps = f"the last {format_count(refine.unroll)} training step{'s' * (refine.unroll != 1)}"
    return (
        f"after {format_count(refine.after)} trial{'s' * (refine.after != 1)}, gradient steps on {names} from the best trial",
        f"each is a trial of {format_count(full_epochs)} epoch{'s' * (full_epochs != 1)}, with up to "
        f"{format_count(UNROLLED_COST * full_epochs)} more for its gradient, through {steps}",
    )
