"""From a search as it was asked for to its refiner, whose gradients a worker computes."""

from __future__ import annotations

from probe.errors import ProbeError
from probe.search.executors.protocol import SearchExecutor
from probe.search.hypergradient.job import GradientJob, GradientReport, run_gradient
from probe.search.hypergradient.refiner import RefinePlan, Refiner
from probe.search.results import StageResults
from probe.search.settings import SearchSettings
from probe.search.study.state import Trial


def make_refiner(setup: SearchSettings, found: StageResults, executor: SearchExecutor) -> Refiner | None:
    """None where the recipe asks for no refinement. `found` has the space."""
    plan = _refine_plan(setup)
    if plan is None:
        return None

    def differentiate(trial: Trial, epochs: int) -> GradientReport:
        job = GradientJob(
            source=setup.source,
            params=trial.params,
            seed=trial.seed,
            split=setup.split,
            device=setup.device,
            planned_epochs=setup.fidelity.full_epochs,
            epochs=epochs,
            names=plan.names,
            unroll=plan.unroll,
            reference=setup.reference,
        )
        try:
            report: GradientReport = executor.call(run_gradient, job)
        except ProbeError as error:  # what the trials found must not be lost with it
            return GradientReport(message=error.message.removesuffix("."))
        return report

    return Refiner(plan, found.space, setup.objective, differentiate=differentiate)


def _refine_plan(setup: SearchSettings) -> RefinePlan | None:
    """None where the recipe asks for no refinement."""
    refine = setup.recipe.search.refine
    if refine is None:
        return None
    return RefinePlan(
        after=refine.after, names=refine.hyperparameters, first_step=float(refine.step), unroll=refine.unroll
    )
