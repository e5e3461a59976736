"""From a search as it was asked for, and what it has found, to the plan of each of its stages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from probe.batch.decide import most_samples
from probe.recipe.space import ProbedBatch, ProbedLr
from probe.search.batch_probing import BatchPlan
from probe.search.findings import Findings, Setup
from probe.search.jobs.final_job import FinalJob, final_seed
from probe.search.jobs.jobs import RungJob, checkpoint_path
from probe.search.probing import HIGHEST_LR, LOWEST_LR, LrPlan
from probe.search.records.search import BestTrial, ParamValue
from probe.search.samplers.auto_sampler import NOT_LEARNING, grid_warning
from probe.search.samplers.history_window import window_warning
from probe.search.samplers.registry import make_sampler
from probe.search.samplers.time_limited import TimeLimitedSampler
from probe.search.space.dimensions import (
    USUAL_SMALL_BATCH,
    build_space,
    central_params,
    optimizers_of,
    params_near,
    usual_starts,
)
from probe.search.space.space import Params, Space
from probe.search.study.budget import LR_STEPS, MIN_PROBE_STEPS, probe_allowance
from probe.search.study.plan import StudyPlan
from probe.search.study.state import Trial
from probe.search.task_info import TaskInfo
from probe.seeds import derive_seed

NUM_CANDIDATES = 20
"""Random configurations to build a task with where its code refuses the one that is wanted (`probe.Infeasible`)."""


def load_params(setup: Setup) -> tuple[Params, ...]:
    """Configurations to build the task with before anything else, the middle of the space first."""
    return params_near(build_space(setup.recipe), 0.5, seed=setup.seed, num_drawn=NUM_CANDIDATES)


def batch_plan(setup: Setup, entry: ProbedBatch, facts: TaskInfo) -> BatchPlan:
    options = setup.recipe.batch
    allowed = min(bound for bound in (entry.max, options.max, facts.num_train) if bound is not None)
    usual = min(USUAL_SMALL_BATCH, facts.batch_size, allowed)
    return BatchPlan(
        source=setup.source,
        params=params_near(build_space(setup.recipe), 1.0, seed=setup.seed, num_drawn=NUM_CANDIDATES),
        device=setup.device,
        allowed=allowed,
        usual=usual,
        start=options.start,
        seed=derive_seed(setup.seed, "batch"),
        num_train=facts.num_train,
        max_samples=_batch_samples(setup, facts, at_least=most_samples(usual)),
    )


def _batch_samples(setup: Setup, facts: TaskInfo, *, at_least: int) -> int | None:
    """Training samples that the batch probe may see: what the shortest range tests after it leave of the probes' allowance,
    or all of that where they would leave it less than `at_least`."""
    allowance = probe_allowance(setup.limits, first_rung_epochs=setup.fidelity.costs[0]) * facts.num_train
    if math.isinf(allowance):
        return None
    lr = setup.recipe.space.get("lr")
    num_tests = len(_lr_keys(setup, lr, facts)) if isinstance(lr, ProbedLr) else 0
    left = allowance - num_tests * MIN_PROBE_STEPS * facts.batch_size
    return math.floor(left if left >= at_least else allowance)


def _lr_keys(setup: Setup, entry: ProbedLr, facts: TaskInfo) -> tuple[str, ...]:
    optimizers = optimizers_of(setup.recipe, facts.optimizer)
    return optimizers if entry.per == "optimizer" and optimizers else ("",)


def lr_plan(
    setup: Setup, entry: ProbedLr, facts: TaskInfo, *, largest_batch: int | None, spent_epochs: float
) -> LrPlan:
    space = build_space(setup.recipe, largest_batch=largest_batch)
    keys, first = _lr_keys(setup, entry, facts), next(iter(optimizers_of(setup.recipe, facts.optimizer)), "")
    options = setup.recipe.lr
    return LrPlan(
        source=setup.source,
        entry=entry,
        keys=keys,
        params={key: _probed_params(space, facts, key or first, setup.seed) for key in keys},
        device=setup.device,
        seed=setup.seed,
        num_train=facts.num_train,
        planned_epochs=setup.fidelity.full_epochs,
        limits=setup.limits,
        first_rung_epochs=setup.fidelity.costs[0],
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
        fidelity=setup.fidelity,
        factor=setup.scheduler.factor,
        limits=setup.limits,
        seed=setup.seed,
        scheduler=setup.scheduler.name,
        on_oom=setup.recipe.search.on_oom,
        patience=setup.recipe.search.patience,
        starts=setup.recipe.start,
        guesses=_usual_starts(found),
        probe_epochs=found.probe_epochs,
        probe_seconds=seconds,
    )


def study_sampler(setup: Setup, found: Findings, num_slots: int, is_deterministic: bool) -> TimeLimitedSampler:
    """The sampler that was settled on. Where that was left to us, asking it must not take longer than training; nothing that
    depends on time decides in a deterministic search."""
    make = partial(make_sampler, space=found.space, mode=setup.objective.mode, seed=setup.seed)
    is_limited = setup.recipe.search.sampler == "auto" and found.sampler not in NOT_LEARNING and not is_deterministic

    def training_seconds() -> float:
        return math.inf if found.state is None or not is_limited else found.state.epoch_seconds / num_slots

    sampler = make(found.sampler, num_rungs=len(setup.rungs))
    return TimeLimitedSampler(sampler, make("random"), training_seconds=training_seconds)


def study_warnings(setup: Setup, found: Findings) -> list[str]:
    """What a budget leaves out of the search that was asked for."""
    if found.sampler != "grid":
        return []
    warning = grid_warning(
        found.space, limits=setup.limits, rungs=setup.fidelity.total_costs, spent_epochs=found.probe_epochs
    )
    return [] if warning is None else [warning]


def end_warnings(sampler: str, trials: Sequence[Trial]) -> list[str]:
    """What the trials showed that the user should know."""
    again = [str(trial.number) for trial in trials if trial.failed_rung is not None and trial.status != "failed"]
    forgot = window_warning(sampler, len(trials))
    found = [] if forgot is None else [forgot]
    if again:
        found.append(
            f"Failed once, but not when run again in a fresh process: trial {', '.join(again)}. The cause is no part of the "
            "configuration: it may be what an earlier trial left behind in the process."
        )
    return found


def _usual_starts(found: Findings) -> tuple[Mapping[str, ParamValue], ...]:
    """For samplers that learn; the others are to cover the space their own way."""
    if found.sampler in NOT_LEARNING or not found.space.dimensions:
        return ()
    return usual_starts(found.space, tuple(found.lr_probes))


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
    fidelity, search = setup.fidelity, setup.recipe.search
    rung = trial.rung + 1
    is_last = not fidelity.goes_on or rung == len(fidelity.rungs) - 1
    return RungJob(
        number=trial.number,
        source=setup.source,
        params=trial.params,
        seed=trial.seed,
        split=setup.split,
        device=setup.device,
        planned_epochs=int(trial.params.get("epochs", fidelity.full_epochs)),
        epochs_from=epochs_from,
        epochs_to=epochs_to,
        checkpoint_in=checkpoint_path(checkpoints, trial.number, epochs_from) if epochs_from else None,
        checkpoint_out=None if is_last else checkpoint_path(checkpoints, trial.number, epochs_to),
        gradient_accumulation=trial.gradient_accumulation,
        data_thousandths=fidelity.data_thousandths(rung),
        objective=setup.objective,
        patience=search.patience,
        earlier=tuple(trial.reports) if search.patience is not None else (),
        constraints=setup.constraints,
        max_seconds=None if search.trial_seconds is None else max(0.0, search.trial_seconds - trial.seconds),
        trial_seconds=search.trial_seconds,
        gpu=gpu,
        reference=setup.reference,
        peak_bytes=peak_bytes,
        needs_fresh_process=trial.failed_rung == rung,
    )


def _probed_params(space: Space, facts: TaskInfo, optimizer: str, seed: int) -> tuple[Params, ...]:
    """Configurations for a range test, the middle of the space first, with this optimizer ("": the task's own callable)."""
    fixed: dict[str, ParamValue] = {"optimizer": optimizer} if optimizer else {}
    fixed["batch_size"] = central_params(space, **fixed).get("batch_size", facts.batch_size)
    return params_near(space, 0.5, seed=seed, num_drawn=NUM_CANDIDATES, **fixed)


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
        reference=setup.reference,
        num_threads=num_threads,
    )
