"""What the stages of a search have found so far, and the result that follows from it at any moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from probe.batch.records import BatchResult
from probe.diagnosis.diagnose import diagnose
from probe.lr.records import LrResult
from probe.recipe.dump import dump_recipe
from probe.records import RunMeta
from probe.search.analysis.importance import importance
from probe.search.analysis.intervals import value_interval
from probe.search.analysis.messages import trials_warnings
from probe.search.jobs.jobs import FinalOutcome
from probe.search.records.cluster import ClusterUse, SlotUse
from probe.search.records.search import BestTrial, SearchResult, SearchStoppedBy, Spent, TrialResult, ValueInterval
from probe.search.settings import SearchSettings
from probe.search.space.space import Space
from probe.search.study.budget import Usage
from probe.search.study.snapshots import best_trial, first_rung_scores, spent, trial_result
from probe.search.study.state import SearchState
from probe.search.task_info import TaskInfo
from probe.training.records import Diagnosis


@dataclass(slots=True, kw_only=True)
class StageResults:
    """The results of the stages, filled in one after the other."""

    meta: RunMeta
    space: Space
    sampler: str
    sampler_reason: str | None = None
    task: TaskInfo | None = None
    batch_probe: BatchResult | None = None
    largest_batch: int | None = None
    """Largest batch size to search; None if the recipe does not ask for a batch probe."""
    lr_probes: Mapping[str, LrResult] = field(default_factory=dict)
    probe_epochs: float = 0.0
    state: SearchState | None = None
    study_seconds: float | None = None
    """Seconds from the start of the search to the end of its last trial; None before that."""
    event_seconds: float = 0.0
    """Seconds in which trials ran, over all sessions, without probes, final training and loading."""
    final: FinalOutcome | None = None
    cluster: ClusterUse | None = None
    num_resumes: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def loaded_task(self) -> TaskInfo:
        """The task's properties. Raises RuntimeError before the task is loaded."""
        if self.task is None:
            raise RuntimeError("the task is not loaded yet")
        return self.task


def trial_results(found: StageResults) -> tuple[TrialResult, ...]:
    """Return the results of all trials."""
    state = found.state
    return () if state is None else tuple(trial_result(state, trial) for trial in state.trials)


def all_spent(found: StageResults, *, seconds: float) -> Spent:
    """Return what probes, trials and final training have used. `seconds` is the time if trials are still running."""
    state, final = found.state, found.final
    usage = Usage(
        trials=0 if state is None else len(state.trials),
        spent_epochs=found.probe_epochs + (0 if state is None else state.spent_epochs),
        seconds=seconds if found.study_seconds is None else found.study_seconds,
    )
    return replace(
        spent(usage, probe_epochs=found.probe_epochs),
        final_epochs=final.training.epochs if final is not None and final.training is not None else 0,
        final_seconds=final.seconds if final is not None else 0.0,
        lost_epochs=0 if state is None else state.lost_epochs,
    )


def make_result(
    settings: SearchSettings, found: StageResults, *, stopped_by: SearchStoppedBy, seconds: float
) -> SearchResult:
    """Return the result of a search from what its stages have found so far."""
    recipe, objective, final = settings.recipe, settings.objective, found.final
    trials = trial_results(found)
    scored = [] if found.state is None else first_rung_scores(found.state)
    best = best_trial(objective, trials)
    return SearchResult(
        meta=found.meta,
        stopped_by=stopped_by,
        name=recipe.name,
        recipe=dump_recipe(recipe),
        task=settings.source.title,
        metric=objective.metric,
        mode=objective.mode,
        sampler=found.sampler,
        sampler_reason=found.sampler_reason,
        scheduler=settings.scheduler.name,
        scheduler_reason=settings.scheduler.reason,
        rungs=settings.rungs,
        rung_unit=settings.fidelity.unit,
        rung_costs=settings.fidelity.costs,
        num_folds=settings.fidelity.num_folds,
        space=found.space.dimensions,
        constants=recipe.constants,
        limits=settings.limits,
        spent=all_spent(found, seconds=seconds),
        num_workers=settings.num_workers,
        num_resumes=found.num_resumes,
        batch_probe=found.batch_probe,
        lr_probes=found.lr_probes,
        trials=trials,
        best=best,
        best_interval=_best_interval(settings, found, best, trials),
        reduce=objective.reduce,
        importance=importance(found.space.dimensions, scored),
        final=None if final is None else final.training,
        test=None if final is None else final.test,
        diagnosis=_diagnosis(settings, best, trials, found.lr_probes),
        warnings=(*found.warnings, *trials_warnings(trials)),
        cluster=found.cluster,
        slots=slot_use(settings, found),
    )


def slot_use(settings: SearchSettings, found: StageResults) -> SlotUse | None:
    """Return the use of the slots over all sessions, assuming those of the last one; None before the first trial."""
    state, cluster = found.state, found.cluster
    if state is None or not state.trials:
        return None
    num_slots = settings.num_workers if cluster is None else cluster.num_slots
    use = state.utilization.after(found.event_seconds, num_slots=num_slots)
    return use if cluster is None else cluster.described(use)


def untrained_loss(probes: Mapping[str, LrResult]) -> float | None:
    """Return the loss at the start of range tests, at learning rates too low to learn anything; None without a test. It
    is the median over the first five points of all curves; their models may differ a little from the winner's."""
    losses = [point.loss for probe in probes.values() for curve in probe.curves for point in curve.points[:5]]
    return median(losses) if losses else None


def _best_interval(
    settings: SearchSettings, found: StageResults, best: BestTrial | None, trials: Sequence[TrialResult]
) -> ValueInterval | None:
    task = found.task
    if best is None or task is None:
        return None
    num_folds = settings.split.num_folds
    return value_interval(
        settings.objective,
        best.value,
        next(trial.reports for trial in trials if trial.number == best.number),
        proportions=task.proportions,
        num_samples=task.num_val if num_folds == 1 else task.num_train + task.num_val,
        num_folds=num_folds,
    )


def _diagnosis(
    settings: SearchSettings, best: BestTrial | None, trials: Sequence[TrialResult], probes: Mapping[str, LrResult]
) -> Diagnosis | None:
    won = next((trial for trial in trials if best is not None and trial.number == best.number), None)
    if won is None:
        return None
    objective = settings.objective
    return diagnose(won.reports, metric=objective.metric, mode=objective.mode, untrained_loss=untrained_loss(probes))
