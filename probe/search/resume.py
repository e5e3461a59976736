"""Whether a search may go on with this recipe, data and code, and which checkpoints it goes on from. Pure, but for the last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from probe.errors import DataError, OutputError, RecipeError
from probe.recipe.schema import Recipe
from probe.recipe.values import show
from probe.records import RunMeta
from probe.search.jobs.jobs import checkpoint_path
from probe.search.records.search import BudgetLimits
from probe.search.storage.stages import StudyEnded
from probe.search.study.state import SearchState
from probe.search.task_info import TaskInfo, code_changes, task_changes

_ABSENT = object()


def recipe_changes(before: Recipe, now: Recipe) -> list[str]:
    """What of a recipe differs, `key: old -> new` each, apart from a budget that was raised.

    The order in [space] counts, as seeded samplers draw in it.
    """
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
    """Raise RecipeError, naming what changed, unless the recipe is the same or only its budget was raised."""
    changes = recipe_changes(before, now)
    if changes:
        raise RecipeError(
            "\n".join(["The recipe has changed since this search was started:", *(f"  {c}" for c in changes)]),
            hint="Only the budget may change, and only grow: give the same --set and --try again, or start a new search.",
        )


def same_task(before: TaskInfo, now: TaskInfo, *, may_be_edited: bool) -> TaskInfo:
    """`now`, with the files that were edited since the search was started, where that is allowed.

    Raises DataError, naming what changed, where the task's data, model or metrics are others than before, and where its code
    was edited without `may_be_edited`.
    """
    changes, edits = task_changes(before, now), code_changes(before, now)
    if changes or (edits and not may_be_edited):
        hint = "Trials before and after such a change do not compare. Undo it, or start a new search."
        if not changes:
            hint += (
                " If it does not affect the results, as where only a message or a crash was fixed, resume with "
                "--allow-code-changes (allow_code_changes=True in Python)."
            )
        lines = ["The task has changed since this search was started:", *(f"  {c}" for c in (*edits, *changes))]
        raise DataError("\n".join(lines), hint=hint)
    return replace(now, edited=tuple(dict.fromkeys((*before.edited, *edits))))


def version_warning(before: RunMeta, now: RunMeta, *, deterministic: bool) -> str | None:
    """A sentence where another probe or PyTorch goes on. Raises OutputError for a deterministic search.

    Only a warning otherwise: what was measured stays right, only what is decided next may differ, and nobody should have to
    throw hours away because of an update.
    """
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
            f"This deterministic search was begun with other versions: {', '.join(changed)}.",
            hint="With these, its decisions could differ. Install the former ones, or start a new search.",
        )
    return (
        f"The search went on with other versions ({', '.join(changed)}): "
        "its decisions may differ from those of one that was never stopped."
    )


def goes_on(ended: StudyEnded | None, limits: BudgetLimits, *, seconds: float) -> bool:
    """Whether a search that has run for `seconds` may train more trials. `ended`: how its trials were over; None: it was
    killed. Where it may not, its unfinished rungs keep what they reported."""
    if limits.time_seconds is not None and seconds >= limits.time_seconds:
        return False
    return ended is None or ended.stopped_by in ("interrupted", "failures") or ended.limits != limits


def needed_checkpoints(state: SearchState, folder: Path) -> set[Path]:
    """Those that a trial may go on from."""
    return {
        checkpoint_path(folder, trial.number, state.scheduler.rungs[trial.rung])
        for trial in state.trials
        if trial.status is None and 0 <= trial.rung < state.scheduler.top
    }


def remove_orphans(state: SearchState, folder: Path) -> int:
    """Delete whatever a killed process left in `folder` that no trial goes on from; returns how many files."""
    needed = needed_checkpoints(state, folder)
    orphans = [path for path in folder.iterdir() if path not in needed] if folder.is_dir() else []
    for path in orphans:
        with suppress(OSError):
            path.unlink()
    return len(orphans)


def _is_raised(key: str, before: Recipe, now: Recipe) -> bool:
    """Whether this limit was raised, or taken away."""
    field = {"budget.trials": "trials", "budget.epochs": "epochs", "budget.time": "time_seconds"}.get(key)
    if field is None:
        return False
    old, new = getattr(before.budget, field), getattr(now.budget, field)
    return old is not None and (new is None or new >= old)


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value of nested tables, under its dotted path."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value, start=1):
            yield from _flat(item, f"{path}[{number}]")
    else:
        yield path, value


def _shown(value: Any) -> str:
    return "(not there)" if value is _ABSENT else show(value)
