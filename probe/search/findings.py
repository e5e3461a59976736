"""What a search was asked, what it has found so far, and the result that these two make at any moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from probe.batch.records import BatchResult
from probe.device.select import DeviceSpec
from probe.diagnosis.diagnose import diagnose
from probe.loading.records import DataReference
from probe.lr.records import LrResult
from probe.recipe.dump import dump_recipe
from probe.recipe.schema import Recipe
from probe.recipe.sections import DEFAULT_SHARE
from probe.records import RunMeta
from probe.search.analysis.importance import importance
from probe.search.analysis.intervals import value_interval
from probe.search.analysis.undefined import trials_warnings
from probe.search.jobs.final_job import FinalOutcome
from probe.search.jobs.jobs import ValidationSplit
from probe.search.jobs.outcomes import UNCONSTRAINED, Constraints, make_constraints
from probe.search.records.cluster import ClusterUse, SlotUse
from probe.search.records.objective import Objective
from probe.search.records.search import (
    BestTrial,
    BudgetLimits,
    SearchResult,
    Spent,
    StoppedBy,
    TrialResult,
    ValueInterval,
)
from probe.search.schedulers.auto_scheduler import SchedulerChoice, choose_scheduler
from probe.search.schedulers.fidelity import FidelitySchedule, make_fidelity_schedule
from probe.search.space.space import Space
from probe.search.study.budget import Usage
from probe.search.study.snapshots import best_trial, first_rung_scores, spent, trial_result
from probe.search.study.state import SearchState
from probe.search.task_info import TaskInfo
from probe.seeds import derive_seed
from probe.tasks.source import TaskSource
from probe.training.records import Diagnosis


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One search as it was asked for."""

    recipe: Recipe
    source: TaskSource
    device: DeviceSpec
    objective: Objective
    limits: BudgetLimits
    scheduler: SchedulerChoice
    fidelity: FidelitySchedule
    split: ValidationSplit
    num_workers: int
    constraints: Constraints = UNCONSTRAINED
    reference: DataReference | None = None
    """The task's data, once they are loaded."""

    @property
    def rungs(self) -> tuple[int, ...]:
        return self.fidelity.rungs

    @property
    def seed(self) -> int:
        return self.recipe.search.seed


@dataclass(slots=True, kw_only=True)
class Findings:
    """Filled stage by stage."""

    meta: RunMeta
    space: Space
    sampler: str
    sampler_reason: str | None = None
    facts: TaskInfo | None = None
    batch_probe: BatchResult | None = None
    lr_probes: Mapping[str, LrResult] = field(default_factory=dict)
    probe_epochs: float = 0.0
    state: SearchState | None = None
    study_seconds: float | None = None
    """From the search's begin to the end of its last trial; None before that."""
    event_seconds: float = 0.0
    """In which trials ran, over all sessions; without the probes, the final fit, and the loading of a search that goes on."""
    final: FinalOutcome | None = None
    cluster: ClusterUse | None = None
    num_resumes: int = 0
    warnings: list[str] = field(default_factory=list)


def make_setup(
    recipe: Recipe,
    source: TaskSource,
    *,
    device: DeviceSpec,
    num_workers: int,
    scheduler: SchedulerChoice | None = None,
) -> Setup:
    """`scheduler`: of a search that goes on, whose rungs stay as they were when it started; None: of a new one."""
    scheduler = scheduler or choose_scheduler(recipe)
    objective, budget, validation = recipe.task.objective, recipe.budget, recipe.task.validation
    return Setup(
        recipe=recipe,
        source=source,
        device=device,
        objective=Objective(metric=objective.metric, mode=objective.mode, reduce=objective.reduce),
        limits=BudgetLimits(trials=budget.trials, epochs=budget.epochs, time_seconds=budget.time_seconds),
        scheduler=scheduler,
        fidelity=make_fidelity_schedule(recipe, scheduler.rungs),
        split=ValidationSplit(
            fraction=validation.share or DEFAULT_SHARE,
            seed=derive_seed(recipe.search.seed, "validation"),
            num_folds=validation.num_folds,
        ),
        num_workers=num_workers,
        constraints=make_constraints(recipe),
    )


def trial_results(findings: Findings) -> tuple[TrialResult, ...]:
    state = findings.state
    return () if state is None else tuple(trial_result(state, trial) for trial in state.trials)


def all_spent(findings: Findings, *, seconds: float) -> Spent:
    """What probes, trials and final fit have used; `seconds` counts while the trials are not done."""
    state, final = findings.state, findings.final
    usage = Usage(
        trials=0 if state is None else len(state.trials),
        spent_epochs=findings.probe_epochs + (0 if state is None else state.spent_epochs),
        seconds=seconds if findings.study_seconds is None else findings.study_seconds,
    )
    return replace(
        spent(usage, probe_epochs=findings.probe_epochs),
        final_epochs=final.training.epochs if final is not None and final.training is not None else 0,
        final_seconds=final.seconds if final is not None else 0.0,
        lost_epochs=0 if state is None else state.lost_epochs,
    )


def make_result(setup: Setup, findings: Findings, *, stopped_by: StoppedBy, seconds: float) -> SearchResult:
    recipe, objective, final = setup.recipe, setup.objective, findings.final
    trials = trial_results(findings)
    scored = [] if findings.state is None else first_rung_scores(findings.state)
    best = best_trial(objective, trials)
    return SearchResult(
        meta=findings.meta,
        stopped_by=stopped_by,
        name=recipe.name,
        recipe=dump_recipe(recipe),
        task=setup.source.title,
        metric=objective.metric,
        mode=objective.mode,
        sampler=findings.sampler,
        sampler_reason=findings.sampler_reason,
        scheduler=setup.scheduler.name,
        scheduler_reason=setup.scheduler.reason,
        rungs=setup.rungs,
        rung_unit=setup.fidelity.unit,
        rung_costs=setup.fidelity.costs,
        num_folds=setup.fidelity.num_folds,
        space=findings.space.dimensions,
        constants=recipe.constants,
        limits=setup.limits,
        spent=all_spent(findings, seconds=seconds),
        num_workers=setup.num_workers,
        num_resumes=findings.num_resumes,
        batch_probe=findings.batch_probe,
        lr_probes=findings.lr_probes,
        trials=trials,
        best=best,
        best_interval=_best_interval(setup, findings, best, trials),
        reduce=objective.reduce,
        importance=importance(findings.space.dimensions, scored),
        final=None if final is None else final.training,
        test=None if final is None else final.test,
        diagnosis=_diagnosis(objective, best, trials, findings.lr_probes),
        warnings=(*findings.warnings, *trials_warnings(trials)),
        cluster=findings.cluster,
        slots=slot_use(setup, findings),
    )


def slot_use(setup: Setup, findings: Findings) -> SlotUse | None:
    """Over all sessions, with the slots that the last one began with; None before the first trial."""
    state, cluster = findings.state, findings.cluster
    if state is None or not state.trials:
        return None
    use = state.occupancy.after(
        findings.event_seconds, num_slots=setup.num_workers if cluster is None else cluster.num_slots
    )
    return use if cluster is None else cluster.described(use)


def untrained_loss(probes: Mapping[str, LrResult]) -> float | None:
    """The loss that range tests begin with, at learning rates too low to learn anything; None without any.

    The first few batches of every test, of the constants' model: near enough, for what is asked is how much of it is left.
    """
    losses = [point.loss for probe in probes.values() for curve in probe.curves for point in curve.points[:5]]
    return median(losses) if losses else None


def _best_interval(
    setup: Setup, findings: Findings, best: BestTrial | None, trials: Sequence[TrialResult]
) -> ValueInterval | None:
    facts = findings.facts
    if best is None or facts is None:
        return None
    num_folds = setup.split.num_folds
    return value_interval(
        setup.objective,
        best.value,
        next(trial.reports for trial in trials if trial.number == best.number),
        proportions=facts.proportions,
        num_samples=facts.num_val if num_folds == 1 else facts.num_train + facts.num_val,
        num_folds=num_folds,
    )


def _diagnosis(
    objective: Objective, best: BestTrial | None, trials: Sequence[TrialResult], probes: Mapping[str, LrResult]
) -> Diagnosis | None:
    won = next((trial for trial in trials if best is not None and trial.number == best.number), None)
    if won is None:
        return None
    return diagnose(won.reports, metric=objective.metric, mode=objective.mode, untrained_loss=untrained_loss(probes))
