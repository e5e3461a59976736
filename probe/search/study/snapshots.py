"""Records of a search's state: the results of its trials, and its progress for a live view."""

from __future__ import annotations

import math
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
    Status,
    TrialResult,
)
from probe.search.schedulers.fidelity import in_epochs
from probe.search.study.budget import Usage
from probe.search.study.state import SearchState
from probe.search.study.trial import Trial

SHOW_SECONDS = 0.1
"""Least time between two progress records: making one takes a millisecond with a thousand slots."""


def trial_result(state: SearchState, trial: Trial) -> TrialResult:
    """Return the record of a trial in its current state."""
    value = reduced_value(state.objective, trial.counted)
    status, message = _status(state, trial, value)
    num_reached = trial.rung + 1
    if trial.rung >= 0 and len(trial.counted) < state.epochs_at(trial, trial.rung):
        num_reached -= 1  # it stopped improving before the end of the rung
    uncounted = 0
    if trial.before and trial.target_rung is not None:  # killed while it was trained on a larger fraction of the data
        uncounted = len(trial.reports) * state.fidelity.epoch_cost(trial.target_rung)
    return TrialResult(
        number=trial.number,
        params=trial.params,
        seed=trial.seed,
        status=status,
        value=value if status in VALUED else None,
        epochs=in_epochs(trial.spent),
        reports=tuple(trial.counted),
        rungs=_rungs_reached(state, trial, num_reached),
        message=message,
        gradient_accumulation=trial.gradient_accumulation,
        lost_epochs=in_epochs(trial.lost + uncounted),
        refinement=trial.refinement,
        **trial.measured.measured(),
    )


def _status(state: SearchState, trial: Trial, value: float | None) -> tuple[Status, str | None]:
    """The status of a trial, also of one that has not ended, and the message that goes with it."""
    message, status = trial.message, trial.status
    if status is None and trial.retry and trial.rung < 0:
        causes: list[tuple[bool, Status]] = [
            (trial.gradient_accumulation is not None or trial.needs_whole_gpu, "oom"),
            (trial.killed_rung is not None, "host_oom"),
            (trial.num_crashes > 0, "crashed"),
            (trial.failed_rung is not None, "failed"),
        ]
        status = next((cause for applies, cause in causes if applies), None)
    if status in (None, "complete") and value is None and trial.counted:
        status = "undefined"
        message = message or (
            f"The {state.objective.metric} was NaN or infinite in each of its {len(trial.counted)} epochs."
        )
    if status is None and value is None:
        status = "timeout"
        message = message or "The search ended before its first epoch was completed."
    if status is None:
        status = "complete" if trial.rung == state.scheduler.top else "stopped"
    if message is None and trial.gradient_accumulation is not None:
        message = f"Out of memory with whole batches: split into {trial.gradient_accumulation} micro-batches."
    elif message is None and trial.needs_whole_gpu:
        message = "Out of memory beside other workers: repeated alone on its GPU."
    return status, message


def best_trial(objective: Objective, results: Sequence[TrialResult]) -> BestTrial | None:
    """Return the trial with the best value, however long it was trained; the earliest of equal ones."""
    best: BestTrial | None = None
    for result in results:
        if result.value is not None and (best is None or objective.better(result.value, best.value)):
            best = BestTrial(number=result.number, params=result.params, value=result.value)
    return best


def first_rung_scores(state: SearchState) -> list[tuple[Mapping[str, ParamValue], float]]:
    """Return positions and first-rung score of every trial that has one, all trained equally long. Gradient steps are
    left out, since they are concentrated around one configuration."""
    scored = []
    for trial in state.trials:
        value = state.score(trial, 0) if trial.rung >= 0 and trial.refinement is None else None
        if value is not None:
            scored.append((trial.positions, value))
    return scored


def spent(usage: Usage, *, probe_epochs: float) -> Spent:
    """Return what finished jobs and the probes have used."""
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
    """Return the progress record of the trials. `places`: trial number -> device or node it runs on."""
    running = [
        RunningTrial(
            number=trial.number,
            params=trial.params,
            epoch=len(trial.reports),
            epochs_to=state.epochs_at(trial, trial.target_rung or 0),
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
        slots=state.utilization.now(usage.seconds, num_slots=num_slots),
    )


def with_nodes(record: Any, cluster: ClusterUse | None) -> Any:
    """Add the cluster's number of nodes to a progress record that describes slots; return other records unchanged."""
    if cluster is None or not isinstance(record, SearchProgress) or record.slots is None:
        return record
    return replace(record, slots=cluster.described(record.slots))


class ProgressTimer:
    """Decides when a progress record is due: some time after the last one, and at once for a new best trial."""

    def __init__(self) -> None:
        self._shown_at = -math.inf
        self._best: BestTrial | None = None

    def is_due(self, now_seconds: float, best: BestTrial | None) -> bool:
        if best is self._best and now_seconds - self._shown_at < SHOW_SECONDS:
            return False
        self._shown_at, self._best = now_seconds, best
        return True
