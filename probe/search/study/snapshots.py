"""The search's state as records: what observers and the result see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from probe.search.records.cluster import ClusterUse
from probe.search.records.objective import Objective, reduced_value
from probe.search.records.search import (
    VALUED,
    BestTrial,
    BudgetLimits,
    ParamValue,
    RunningTrial,
    SearchProgress,
    Spent,
    TrialResult,
)
from probe.search.schedulers.fidelity import in_epochs
from probe.search.study.budget import Usage
from probe.search.study.state import SearchState, Trial


def trial_result(state: SearchState, trial: Trial) -> TrialResult:
    """The record of a trial as it stands."""
    value = reduced_value(state.objective, trial.counted)
    message = trial.message
    status = trial.status
    if status is None and trial.retry and trial.rung < 0:
        status = "oom" if trial.gradient_accumulation is not None else "crashed" if trial.num_crashes else None
        status = status or ("failed" if trial.failed_rung is not None else None)
    if status in (None, "complete") and value is None and trial.counted:
        status = "undefined"
        metric, count = state.objective.metric, len(trial.counted)
        message = message or f"The {metric} was NaN or infinite in every one of its {count} epochs."
    if status is None and value is None:
        status = "timeout"
        message = message or "The search ended before its first epoch did."
    if status is None:
        status = "complete" if trial.rung == state.scheduler.top else "stopped"
    if message is None and trial.gradient_accumulation is not None:
        message = f"Out of memory with the whole batch: split into {trial.gradient_accumulation} parts."
    num_reached = trial.rung + 1
    if trial.rung >= 0 and len(trial.counted) < state.epochs_at(trial, trial.rung):
        num_reached -= 1  # it stopped improving on the way to the rung's end
    uncounted = 0
    if trial.before and trial.climbing_to is not None:  # the search was killed while it was trained on a larger share
        uncounted = len(trial.reports) * state.fidelity.epoch_cost(trial.climbing_to)
    return TrialResult(
        number=trial.number,
        params=trial.params,
        seed=trial.seed,
        status=status,
        value=value if status in VALUED else None,
        epochs=in_epochs(trial.spent),
        reports=tuple(trial.counted),
        rungs=_rungs_reached(state, trial, num_reached),
        seconds=trial.seconds,
        memory=trial.memory,
        message=message,
        gradient_accumulation=trial.gradient_accumulation,
        lost_epochs=in_epochs(trial.lost + uncounted),
        refinement=trial.refinement,
        fit=trial.fit,
    )


def best_trial(objective: Objective, results: Sequence[TrialResult]) -> BestTrial | None:
    """The trial with the best value however far it was trained; of equal ones the earliest."""
    best: BestTrial | None = None
    for result in results:
        if result.value is not None and (best is None or objective.better(result.value, best.value)):
            best = BestTrial(number=result.number, params=result.params, value=result.value)
    return best


def first_rung_scores(state: SearchState) -> list[tuple[Mapping[str, ParamValue], float]]:
    """Positions and first-rung score of every trial that has one: all of them trained equally long. Gradient steps are left
    out: they crowd around one place."""
    scored = []
    for trial in state.trials:
        value = state.score(trial, 0) if trial.rung >= 0 and trial.refinement is None else None
        if value is not None:
            scored.append((trial.positions, value))
    return scored


def spent(usage: Usage, *, probe_epochs: float) -> Spent:
    """What finished jobs and the probes have used."""
    return Spent(trials=usage.trials, epochs=usage.spent_epochs, probe_epochs=probe_epochs, seconds=usage.seconds)


def _rungs_reached(state: SearchState, trial: Trial, number: int) -> tuple[int, ...]:
    rungs = state.scheduler.rungs[:number]
    if state.fidelity.unit == "data":
        return rungs
    return tuple(state.epochs_at(trial, rung) for rung in range(len(rungs)))


def progress(
    state: SearchState,
    limits: BudgetLimits,
    usage: Usage,
    *,
    probe_epochs: float,
    num_slots: int,
    places: Mapping[int, str] | None = None,
) -> SearchProgress:
    """For a live view. `places`: where running trials run."""
    running = [
        RunningTrial(
            number=trial.number,
            params=trial.params,
            epoch=len(trial.reports),
            epochs_to=state.epochs_at(trial, trial.climbing_to or 0),
            place=(places or {}).get(trial.number),
        )
        for trial in state.running.values()
    ]
    return SearchProgress(
        stage="search",
        spent=spent(usage, probe_epochs=probe_epochs),
        limits=limits,
        running=tuple(running),
        best=state.best,
        slots=state.occupancy.now(usage.seconds, num_slots=num_slots),
    )


def with_nodes(record: Any, cluster: ClusterUse | None) -> Any:
    """The same record, with the cluster's number of nodes where it tells of slots."""
    if cluster is None or not isinstance(record, SearchProgress) or record.slots is None:
        return record
    return replace(record, slots=cluster.described(record.slots))
