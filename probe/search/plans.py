"""From a search as it was asked for, and what it has found, to the plan of each of its stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from probe.recipe.space import ProbedBatch, ProbedLr
from probe.search.choice import NOT_LEARNING, grid_warning
from probe.search.dimensions import build_space, central_params, central_starts, largest_params, optimizers_of
from probe.search.facts import TaskFacts
from probe.search.final_job import FinalJob, final_seed
from probe.search.findings import Findings, Setup
from probe.search.jobs import RungJob, checkpoint_path
from probe.search.probing import HIGHEST_LR, LOWEST_LR, LR_STEPS, BatchPlan, LrPlan
from probe.search.records import BestTrial, ParamValue
from probe.search.refiner import RefinePlan
from probe.search.space import Space
from probe.search.state import Trial
from probe.search.study_plan import StudyPlan
from probe.seeds import derive_seed


def batch_plan(setup: Setup, entry: ProbedBatch, facts: TaskFacts) -> BatchPlan:
    options = setup.recipe.batch
    return BatchPlan(
        source=setup.source,
        params=largest_params(build_space(setup.recipe)),
        device=setup.device,
        largest=min(bound for bound in (entry.max, options.max, facts.num_train) if bound is not None),
        start=options.start,
        seed=derive_seed(setup.seed, "batch"),
    )


def lr_plan(
    setup: Setup, entry: ProbedLr, facts: TaskFacts, *, largest_batch: int | None, spent_epochs: float
) -> LrPlan:
    space = build_space(setup.recipe, largest_batch=largest_batch)
    optimizers = optimizers_of(setup.recipe, facts.optimizer)
    keys = optimizers if entry.per == "optimizer" and optimizers else ("",)
    options = setup.recipe.lr
    return LrPlan(
        source=setup.source,
        entry=entry,
        keys=keys,
        params={key: _probed_params(space, facts, key or next(iter(optimizers), "")) for key in keys},
        device=setup.device,
        seed=setup.seed,
        num_train=facts.num_train,
        planned_epochs=setup.course.full_epochs,
        limits=setup.limits,
        spent_epochs=spent_epochs,
        wanted_steps=options.steps or LR_STEPS,
        lowest_lr=options.lowest or LOWEST_LR,
        highest_lr=options.highest or HIGHEST_LR,
    )


def study_plan(setup: Setup, found: Findings, *, seconds: float) -> StudyPlan:
    """`seconds`: spent so far."""
    return StudyPlan(
        space=found.space,
        objective=setup.objective,
        rungs=setup.rungs,
        course=setup.course,
        factor=setup.recipe.search.fidelity.factor,
        limits=setup.limits,
        seed=setup.seed,
        ladder=setup.recipe.search.ladder,
        on_oom=setup.recipe.search.on_oom,
        patience=setup.recipe.search.patience,
        starts=(*setup.recipe.start, *_central_starts(found)),
        probe_epochs=found.probe_epochs,
        probe_seconds=seconds,
    )


def study_warnings(setup: Setup, found: Findings) -> list[str]:
    """What a budget leaves out of the search that was asked for."""
    if found.sampler != "grid":
        return []
    warning = grid_warning(
        found.space, limits=setup.limits, rungs=setup.course.total_costs, spent_epochs=found.probe_epochs
    )
    return [] if warning is None else [warning]


def _central_starts(found: Findings) -> tuple[Mapping[str, ParamValue], ...]:
    """For samplers that learn, where learning rates were measured; the others are to cover the space their own way."""
    if found.sampler in NOT_LEARNING or not found.lr_probes:
        return ()
    return central_starts(found.space, tuple(found.lr_probes))


def refine_plan(setup: Setup) -> RefinePlan | None:
    """None where the recipe asks for no refinement."""
    refine = setup.recipe.search.refine
    if refine is None:
        return None
    return RefinePlan(
        after=refine.after, names=refine.hyperparameters, first_step=float(refine.step), unroll=refine.unroll
    )


def rung_job(
    setup: Setup,
    trial: Trial,
    epochs_from: int,
    epochs_to: int,
    *,
    checkpoints: Path,
    gpu: int | None = None,
    peak_bytes: int | None = None,
) -> RungJob:
    """`checkpoints`: the folder where they lie. `gpu`: which of several it was given room on.
    `peak_bytes`: predicted, where jobs are placed by it."""
    course, search = setup.course, setup.recipe.search
    rung = trial.rung + 1
    is_last = not course.goes_on or rung == len(course.rungs) - 1
    return RungJob(
        number=trial.number,
        source=setup.source,
        params=trial.params,
        seed=trial.seed,
        split=setup.split,
        device=setup.device,
        planned_epochs=int(trial.params.get("epochs", course.full_epochs)),
        epochs_from=epochs_from,
        epochs_to=epochs_to,
        checkpoint_in=checkpoint_path(checkpoints, trial.number, epochs_from) if epochs_from else None,
        checkpoint_out=None if is_last else checkpoint_path(checkpoints, trial.number, epochs_to),
        accumulation=trial.accumulation,
        data_thousandths=course.data_thousandths(rung),
        objective=setup.objective,
        patience=search.patience,
        earlier=tuple(trial.reports) if search.patience is not None else (),
        constraints=setup.constraints,
        max_seconds=None if search.trial_seconds is None else max(0.0, search.trial_seconds - trial.seconds),
        trial_seconds=search.trial_seconds,
        gpu=gpu,
        peak_bytes=peak_bytes,
    )


def _probed_params(space: Space, facts: TaskFacts, optimizer: str) -> Mapping[str, ParamValue]:
    """The configuration of a range test: the middle of the space, with this optimizer ("": the task's own callable)."""
    fixed: dict[str, ParamValue] = {"optimizer": optimizer} if optimizer else {}
    return {"batch_size": facts.batch_size, **central_params(space, **fixed)}


def final_job(setup: Setup, best: BestTrial, epochs: int, *, weights: Path | None, num_threads: int) -> FinalJob:
    """`weights`: where they go; None: nowhere."""
    return FinalJob(
        source=setup.source,
        params=best.params,
        seed=final_seed(setup.seed, best.number),
        split=setup.split,
        device=setup.device,
        epochs=epochs,
        metric=setup.objective.metric,
        weights_path=weights,
        num_threads=num_threads,
    )
