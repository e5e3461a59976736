"""The plan of each stage of a search, made from its settings and from what earlier stages have found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from probe.batch.decide import most_samples
from probe.recipe.space import ProbedBatch, ProbedLr
from probe.search.batch_probe import BatchProbePlan
from probe.search.executors.slots import GpuChoice
from probe.search.jobs.checkpoint_files import checkpoint_path
from probe.search.jobs.jobs import FinalJob, RungJob, final_seed
from probe.search.lr_probe import HIGHEST_LR, LOWEST_LR, LrProbePlan
from probe.search.records.search import BestTrial, ParamValue
from probe.search.results import StageResults
from probe.search.samplers.auto_sampler import NOT_LEARNING, SamplerChoice, choose_sampler, grid_warning
from probe.search.samplers.limits import TimeLimitedSampler, window_warning
from probe.search.samplers.registry import make_sampler
from probe.search.settings import SearchSettings
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
from probe.search.study.trial import Trial
from probe.search.task_info import TaskInfo
from probe.seeds import derive_seed
from probe.workers.death import SAVE_MEMORY

NUM_CANDIDATES = 20
"""Random configurations to build a task with if its code refuses the preferred one (`probe.Infeasible`)."""


def load_params(settings: SearchSettings) -> tuple[Params, ...]:
    """Return configurations to build the task with, the middle of the space first."""
    return params_near(build_space(settings.recipe), 0.5, seed=settings.seed, num_drawn=NUM_CANDIDATES)


def batch_probe_plan(settings: SearchSettings, entry: ProbedBatch, task: TaskInfo) -> BatchProbePlan:
    """Return the plan of the batch probe. `entry` is the recipe's `batch_size`."""
    options = settings.recipe.batch
    allowed = min(bound for bound in (entry.max, options.max, task.num_train) if bound is not None)
    usual = min(USUAL_SMALL_BATCH, task.batch_size, allowed)
    return BatchProbePlan(
        source=settings.source,
        params=params_near(build_space(settings.recipe), 1.0, seed=settings.seed, num_drawn=NUM_CANDIDATES),
        device=settings.device,
        allowed=allowed,
        usual=usual,
        start=options.start,
        seed=derive_seed(settings.seed, "batch"),
        num_train=task.num_train,
        max_samples=_batch_samples(settings, task, at_least=most_samples(usual)),
    )


def _batch_samples(settings: SearchSettings, task: TaskInfo, *, at_least: int) -> int | None:
    """Training samples that the batch probe may use: enough are left for the shortest range tests after it, unless that
    is less than `at_least`."""
    allowance = probe_allowance(settings.limits, first_rung_epochs=settings.fidelity.costs[0]) * task.num_train
    if math.isinf(allowance):
        return None
    lr = settings.recipe.space.get("lr")
    num_tests = len(_lr_keys(settings, lr, task)) if isinstance(lr, ProbedLr) else 0
    left = allowance - num_tests * MIN_PROBE_STEPS * task.batch_size
    return math.floor(left if left >= at_least else allowance)


def _lr_keys(settings: SearchSettings, entry: ProbedLr, task: TaskInfo) -> tuple[str, ...]:
    optimizers = optimizers_of(settings.recipe, task.optimizer)
    return optimizers if entry.per == "optimizer" and optimizers else ("",)


def lr_probe_plan(settings: SearchSettings, found: StageResults, entry: ProbedLr, task: TaskInfo) -> LrProbePlan:
    """Return the plan of the range tests. `entry` is the recipe's `lr`."""
    space = build_space(settings.recipe, largest_batch=found.largest_batch)
    keys = _lr_keys(settings, entry, task)
    first = next(iter(optimizers_of(settings.recipe, task.optimizer)), "")
    options = settings.recipe.lr
    return LrProbePlan(
        source=settings.source,
        entry=entry,
        keys=keys,
        params={key: _probed_params(space, task, key or first, settings.seed) for key in keys},
        device=settings.device,
        seed=settings.seed,
        num_train=task.num_train,
        planned_epochs=settings.fidelity.full_epochs,
        limits=settings.limits,
        first_rung_epochs=settings.fidelity.costs[0],
        spent_epochs=found.probe_epochs,
        wanted_steps=options.steps or LR_STEPS,
        lowest_lr=options.lowest or LOWEST_LR,
        highest_lr=options.highest or HIGHEST_LR,
    )


def _probed_params(space: Space, task: TaskInfo, optimizer: str, seed: int) -> tuple[Params, ...]:
    """Configurations for a range test with this optimizer ("" for the task's callable), the central one first."""
    fixed: dict[str, ParamValue] = {"optimizer": optimizer} if optimizer else {}
    fixed["batch_size"] = central_params(space, **fixed).get("batch_size", task.batch_size)
    return params_near(space, 0.5, seed=seed, num_drawn=NUM_CANDIDATES, **fixed)


def sampler_choice(settings: SearchSettings, found: StageResults) -> SamplerChoice:
    """Return the sampler of the recipe, or the one that fits the space and the rest of the budget."""
    return choose_sampler(
        settings.recipe.search.sampler,
        found.space,
        limits=settings.limits,
        rungs=settings.fidelity.total_costs,
        spent_epochs=found.probe_epochs,
    )


def study_plan(settings: SearchSettings, found: StageResults, *, seconds: float) -> StudyPlan:
    """Return the plan of the trials. `seconds` is the time spent so far."""
    return StudyPlan(
        space=found.space,
        objective=settings.objective,
        rungs=settings.rungs,
        fidelity=settings.fidelity,
        factor=settings.scheduler.factor,
        limits=settings.limits,
        seed=settings.seed,
        scheduler=settings.scheduler.name,
        on_oom=settings.recipe.search.on_oom,
        patience=settings.recipe.search.patience,
        starts=settings.recipe.start,
        guesses=_usual_starts(found),
        probe_epochs=found.probe_epochs,
        probe_seconds=seconds,
    )


def study_sampler(
    settings: SearchSettings, found: StageResults, num_slots: int, *, deterministic: bool
) -> TimeLimitedSampler:
    """Return the chosen sampler. If probe chose it, random sampling replaces it while its suggestions take longer than
    training; but not in a deterministic search, whose decisions do not depend on time."""
    make = partial(make_sampler, space=found.space, mode=settings.objective.mode, seed=settings.seed)
    is_auto = settings.recipe.search.sampler == "auto"
    is_limited = is_auto and found.sampler not in NOT_LEARNING and not deterministic

    def training_seconds() -> float:
        return math.inf if found.state is None or not is_limited else found.state.epoch_seconds / num_slots

    sampler = make(found.sampler, num_rungs=len(settings.rungs))
    return TimeLimitedSampler(sampler, make("random"), training_seconds=training_seconds)


def study_warnings(settings: SearchSettings, found: StageResults) -> list[str]:
    """Return warnings about the trials that the budget leaves out."""
    if found.sampler != "grid":
        return []
    warning = grid_warning(
        found.space, limits=settings.limits, rungs=settings.fidelity.total_costs, spent_epochs=found.probe_epochs
    )
    return [] if warning is None else [warning]


def end_warnings(sampler: str, trials: Sequence[Trial]) -> list[str]:
    """Return warnings about the finished trials."""
    again = [str(trial.number) for trial in trials if trial.failed_rung is not None and trial.status != "failed"]
    forgot = window_warning(sampler, len(trials))
    found = [] if forgot is None else [forgot]
    if again:
        found.append(
            f"Failed once, but not when repeated in a fresh process: trial {', '.join(again)}. The cause is not the "
            "configuration; it may be what an earlier trial left behind in the process."
        )
    crowded = [str(trial.number) for trial in trials if trial.needs_whole_gpu]
    if crowded:
        found.append(
            f"Memory ran out while other workers used the same GPU: trial {', '.join(crowded)}, repeated alone on its GPU. If "
            "that happens often, use fewer workers."
        )
    killed = [str(trial.number) for trial in trials if trial.killed_rung is not None]
    if killed:
        found.append(
            f"Signal 9 killed a worker in trial {', '.join(killed)}, most likely because the machine ran out of memory. "
            f"The rung was repeated once in a fresh process. {SAVE_MEMORY}"
        )
    return found


def _usual_starts(found: StageResults) -> tuple[Mapping[str, ParamValue], ...]:
    """Usual configurations, for samplers that learn. The others cover the space in their own way."""
    if found.sampler in NOT_LEARNING or not found.space.dimensions:
        return ()
    return usual_starts(found.space, tuple(found.lr_probes))


def rung_job(
    settings: SearchSettings,
    trial: Trial,
    epochs_from: int,
    epochs_to: int,
    *,
    checkpoints: Path,
    choice: GpuChoice | None = None,
    peak_bytes: int | None = None,
) -> RungJob:
    """Return the job that trains a trial from `epochs_from` to `epochs_to`, the end of its next rung. `choice` (its
    GPU) or `peak_bytes` (its predicted memory) is given if trials are placed by memory."""
    fidelity, search = settings.fidelity, settings.recipe.search
    rung = trial.rung + 1
    is_last = not fidelity.continues_from_checkpoint or rung == len(fidelity.rungs) - 1
    seconds_left = None if search.trial_seconds is None else max(0.0, search.trial_seconds - trial.measured.seconds)
    return RungJob(
        number=trial.number,
        source=settings.source,
        params=trial.params,
        seed=trial.seed,
        split=settings.split,
        device=settings.device,
        planned_epochs=int(trial.params.get("epochs", fidelity.full_epochs)),
        epochs_from=epochs_from,
        epochs_to=epochs_to,
        checkpoint_in=checkpoint_path(checkpoints, trial.number, epochs_from) if epochs_from else None,
        checkpoint_out=None if is_last else checkpoint_path(checkpoints, trial.number, epochs_to),
        gradient_accumulation=trial.gradient_accumulation,
        data_thousandths=fidelity.data_thousandths(rung),
        objective=settings.objective,
        patience=search.patience,
        earlier=tuple(trial.reports) if search.patience is not None else (),
        constraints=settings.constraints,
        max_seconds=seconds_left,
        trial_seconds=search.trial_seconds,
        gpu=None if choice is None else choice.gpu,
        reference=settings.reference,
        peak_bytes=peak_bytes,
        needs_fresh_process=rung in (trial.failed_rung, trial.killed_rung, trial.crowded_rung),
        needs_room=choice is not None and choice.needs_room,
    )


def final_job(
    settings: SearchSettings, best: BestTrial, epochs: int, *, weights: Path | None, num_threads: int
) -> FinalJob:
    """Return the job that trains the winner again. `weights` is the file for its weights; None to discard them."""
    return FinalJob(
        source=settings.source,
        params=best.params,
        seed=final_seed(settings.seed, best.number),
        split=settings.split,
        device=settings.device,
        epochs=epochs,
        metric=settings.objective.metric,
        weights_path=weights,
        reference=settings.reference,
        num_threads=num_threads,
    )
