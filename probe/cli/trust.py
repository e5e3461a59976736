"""Whether a command may import the task that a recipe names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probe.recipe.schema import Recipe


def check_trusted(path: Path, recipe: Recipe, *, trust: bool) -> None:
    """Raise UsageError if a search of someone else wrote the recipe, which names a target, unless `trust` is given. The search
    is then known from now on."""
    from probe.search.storage.own_runs import check_own, remember, run_id_in

    run_id = run_id_in(path.read_text(encoding="utf-8"))
    if run_id is None or recipe.task.target is None:
        return
    if trust:
        remember(run_id)
    else:
        check_own(run_id, recipe.task.target, asked_for=str(path))
