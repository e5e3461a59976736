"""What may change when a search is resumed, what its stages had found, and which checkpoints it continues from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from probe.batch.records import BatchResult
from probe.errors import DataError, OutputError, RecipeError
from probe.loading.records import shared_test_samples
from probe.lr.records import LrResult
from probe.recipe.schema import Recipe
from probe.recipe.values import show
from probe.records import RunMeta
from probe.search.jobs.checkpoint_files import checkpoint_path
from probe.search.jobs.jobs import FinalOutcome
from probe.search.records.search import BudgetLimits, SearchStoppedBy
from probe.search.results import StageResults
from probe.search.storage.database import SearchDatabase
from probe.search.storage.folder import CheckpointFolder
from probe.search.storage.schema import BATCH, END, FINAL, LOAD, PROBED, Probed, StudyEnded, lr_stages
from probe.search.study.state import SearchState
from probe.search.study.study import Study
from probe.search.task_info import TaskInfo, code_changes, task_changes

_ABSENT = object()


def recipe_changes(before: Recipe, now: Recipe) -> list[str]:
    """Return the differences of two recipes, each as `key: old -> new`, apart from a raised budget. The order in
    [space] counts, since seeded samplers draw in that order."""
    old, new = dict(_flat(before.to_plain())), dict(_flat(now.to_plain()))
    changes = []
    for key in dict.fromkeys((*old, *new)):
        left, right = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if left != right and not (key.startswith("budget.") and _is_raised(key, before, now)):
            changes.append(f"{key}: {_shown(left)} -> {_shown(right)}")
    if not changes and list(before.space) != list(now.space):
        changes.append(f"the order in [space]: {', '.join(before.space)} -> {', '.join(now.space)}")
    return changes


def check_same_recipe(before: Recipe, now: Recipe) -> None:
    """Raise RecipeError, with a list of the changes, unless the recipe is the same or only its budget was raised."""
    changes = recipe_changes(before, now)
    if changes:
        raise RecipeError(
            "\n".join(["The recipe has changed since this search was started:", *(f"  {c}" for c in changes)]),
            hint="Only a raised budget is allowed. Repeat the same --set and --try options, or start a new search.",
        )


def same_task(before: TaskInfo, now: TaskInfo, *, may_be_edited: bool) -> TaskInfo:
    """Return `now`, with the files that were edited since the search was started. Raises DataError, with a list of the
    changes, if the task's data, model or metrics differ, or its code unless it `may_be_edited`."""
    changes, edits = task_changes(before, now), code_changes(before, now)
    if changes or (edits and not may_be_edited):
        hint = "Trials before and after such a change are not comparable. Undo it, or start a new search."
        if not changes:
            hint += (
                " If it does not affect the results, for example a fixed message or crash, resume with "
                "--allow-code-changes (allow_code_changes=True in Python)."
            )
        lines = ["The task has changed since this search was started:", *(f"  {c}" for c in (*edits, *changes))]
        raise DataError("\n".join(lines), hint=hint)
    return replace(now, edited=tuple(dict.fromkeys((*before.edited, *edits))))


def version_warning(before: RunMeta, now: RunMeta, *, deterministic: bool) -> str | None:
    """Return a warning if another version of probe or PyTorch resumes the search; its later decisions may differ. For a
    deterministic search, raise OutputError."""
    pairs = (("probe", "probe_version"), ("PyTorch", "torch_version"))
    changed = [
        f"{name} {getattr(before, field)} -> {getattr(now, field)}"
        for name, field in pairs
        if getattr(before, field) != getattr(now, field)
    ]
    if not changed:
        return None
    if deterministic:
        raise OutputError(
            f"This deterministic search was started with other versions: {', '.join(changed)}.",
            hint="Its decisions could differ with these. Install the earlier versions, or start a new search.",
        )
    return (
        f"The search was resumed with other versions ({', '.join(changed)}): "
        "its decisions may differ from those of a search that was never stopped."
    )


def can_continue(ended: StudyEnded | None, limits: BudgetLimits, *, seconds: float) -> bool:
    """Whether a resumed search, whose trials had `ended` (None if it was killed), may train more trials."""
    if limits.time_seconds is not None and seconds >= limits.time_seconds:
        return False
    return ended is None or ended.stopped_by in ("interrupted", "failures") or ended.limits != limits


def resume_study(
    study: Study, database: SearchDatabase, checkpoints: CheckpointFolder, *, seconds: float
) -> SearchStoppedBy | None:
    """Restore a study from its stored events, if there are any, and prepare it to run. Returns how the search had ended
    if it may not train more trials; otherwise None."""
    with database.restoring():
        study.replay(database.events())
    study.state.utilization.earlier_seconds = database.event_seconds
    ended = database.stage(END, StudyEnded)
    if not can_continue(ended, study.plan.limits, seconds=seconds):
        return ended.stopped_by if ended is not None and ended.stopped_by != "interrupted" else "time"
    if study.state.trials:
        study.resume(None if ended is None else ended.stopped_by)
        # Of a killed process: files that no trial continues from.
        checkpoints.clear(kept=needed_checkpoints(study.state, checkpoints.path))
    return None


def needed_checkpoints(state: SearchState, folder: Path) -> set[Path]:
    """Return the checkpoints that trials may continue from."""
    return {
        checkpoint_path(folder, trial.number, state.scheduler.rungs[trial.rung])
        for trial in state.trials
        if trial.status is None and 0 <= trial.rung < state.scheduler.top
    }


def restore_probes(found: StageResults, database: SearchDatabase) -> bool:
    """Restore the results of the probes; return whether all of them had finished."""
    found.batch_probe = database.stage(BATCH, BatchResult)
    probes = {name: database.stage(stage, LrResult) for name, stage in lr_stages(database.stage_names()).items()}
    found.lr_probes = {name: probe for name, probe in probes.items() if probe is not None}
    probed = database.stage(PROBED, Probed)
    if probed is None:
        return False
    found.space, found.sampler, found.sampler_reason = probed.space, probed.sampler, probed.sampler_reason
    found.probe_epochs = probed.probe_epochs
    found.warnings += probed.warnings
    found.meta = replace(found.meta, device=probed.device_name)
    return True


def restore_final(database: SearchDatabase, *, seed: int, epochs: int) -> FinalOutcome | None:
    """Return the stored final training if it is of this winner and this many epochs; otherwise None."""
    outcome = database.stage(FINAL, FinalOutcome)
    training = None if outcome is None else outcome.training
    return outcome if training is not None and (training.seed, training.epochs) == (seed, epochs) else None


def with_history(outcome: FinalOutcome, database: SearchDatabase) -> FinalOutcome:
    """Add its shared test samples, and how often the test split was scored before, to a new final training."""
    task, before = database.stage(LOAD, TaskInfo), database.stage(FINAL, FinalOutcome)
    earlier = 0 if before is None else before.num_test_reads
    if outcome.test is None:
        return replace(outcome, num_test_reads=earlier)
    num_shared = 0 if task is None else shared_test_samples(task.overlaps)
    test = replace(outcome.test, num_shared=num_shared, earlier_reads=earlier)
    return replace(outcome, test=test, num_test_reads=earlier + 1)


def _is_raised(key: str, before: Recipe, now: Recipe) -> bool:
    """Whether this limit was raised or removed."""
    field = {"budget.trials": "trials", "budget.epochs": "epochs", "budget.time": "time_seconds"}.get(key)
    if field is None:
        return False
    old, new = getattr(before.budget, field), getattr(now.budget, field)
    return old is not None and (new is None or new >= old)


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every plain value of nested tables with its dotted path."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value, start=1):
            yield from _flat(item, f"{path}[{number}]")
    else:
        yield path, value


def _shown(value: Any) -> str:
    return "(missing)" if value is _ABSENT else show(value)
