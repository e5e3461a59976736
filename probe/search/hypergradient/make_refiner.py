"""The refiner for a recipe, whose gradients a worker computes, and its text for `probe space`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.errors import ProbeError
from probe.recipe.refine import Refine
from probe.search.executors.protocol import SearchExecutor
from probe.search.hypergradient.job import GradientJob, GradientReport, run_gradient
from probe.search.hypergradient.refiner import Refiner, RefinerSettings
from probe.search.hypergradient.steps import UNROLLED_COST
from probe.search.results import StageResults
from probe.search.settings import SearchSettings
from probe.units import format_count

if TYPE_CHECKING:
    from probe.search.study.state import Trial


def make_proposer(refine: Refine, setup: SearchSettings, found: StageResults, executor: SearchExecutor) -> Refiner:
    """The refiner for the recipe's [search.refine]. `found` must hold the space of the search."""
    settings = RefinerSettings(
        after=refine.after, names=refine.hyperparameters, first_step=float(refine.step), unroll=refine.unroll
    )

    def differentiate(trial: Trial, epochs: int) -> GradientReport:
        job = GradientJob(
            source=setup.source,
            params=trial.params,
            seed=trial.seed,
            split=setup.split,
            device=setup.device,
            planned_epochs=setup.fidelity.full_epochs,
            epochs=epochs,
            names=settings.names,
            unroll=settings.unroll,
            reference=setup.reference,
        )
        try:
            report: GradientReport = executor.run(run_gradient, job)
        except ProbeError as error:  # the results of the trials must not be lost
            return GradientReport(message=error.message.removesuffix("."))
        return report

    return Refiner(settings, found.space, setup.objective, differentiate=differentiate)


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
